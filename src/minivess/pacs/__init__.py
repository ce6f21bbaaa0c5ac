"""A listener for a PACS: receives series by DICOM C-STORE, runs the MAP on each, and sends the results back."""

from minivess.pacs.listener import Listener, Settings
from minivess.pacs.spool import SeriesSpool
from minivess.pacs.tls import TlsFiles
from minivess.pacs.transfer import Peer

__all__ = ["Listener", "Peer", "SeriesSpool", "Settings", "TlsFiles"]
