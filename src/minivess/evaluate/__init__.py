"""How good is a model really: splits by subject, the sealed test set, and the promotion gate."""

from minivess.evaluate.anchors import Anchor, AnchorResult, synthetic_anchors
from minivess.evaluate.gate_scores import GateScores, ReviewedCase, score_model
from minivess.evaluate.promotion import Promotion, choose_model
from minivess.evaluate.sealed import SealedTestSet, fingerprint
from minivess.evaluate.splits import SubjectHistory, split_by_subject, subjects_metadata

__all__ = [
    "Anchor",
    "AnchorResult",
    "GateScores",
    "Promotion",
    "ReviewedCase",
    "SealedTestSet",
    "SubjectHistory",
    "choose_model",
    "fingerprint",
    "score_model",
    "split_by_subject",
    "subjects_metadata",
    "synthetic_anchors",
]
