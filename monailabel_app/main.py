"""The MONAI Label app: ``monailabel start_server --app monailabel_app --studies STUDIES``, or ``minivess serve STUDIES``.

MONAI Label takes the subclass of ``MONAILabelApp`` that it finds in this file; all of it is in :mod:`minivess.label_app`.
"""

from minivess.label_app import VesselApp

__all__ = ["VesselApp"]
