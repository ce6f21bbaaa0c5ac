"""A listener for a PACS: receives series by DICOM C-STORE, runs the MAP on each, and sends the results back."""

from minivess.pacs.entity import Peer
from minivess.pacs.listener import Listener, Settings
from minivess.pacs.spool import SeriesSpool
from minivess.pacs.tls import TlsFiles

__all__ = ["Listener", "Peer", "SeriesSpool", "Settings", "TlsFiles"]
