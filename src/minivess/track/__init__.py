"""Trainings in MLflow, and a registry whose promotion is gated. Nothing here runs on a thread that trains or answers a person."""

from minivess.track.limits import Limits, judge
from minivess.track.registry import Registry
from minivess.track.sealed_promotion import promote_on_sealed
from minivess.track.send import send_all
from minivess.track.spool import Spool, enqueue_training

__all__ = ["Limits", "Registry", "Spool", "enqueue_training", "judge", "promote_on_sealed", "send_all"]
