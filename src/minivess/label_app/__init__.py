"""The MONAI Label app: its inference, training, strategies, scoring and datastore. Needs the extra ``label``."""

from minivess.label_app.app import VesselApp

__all__ = ["VesselApp"]
