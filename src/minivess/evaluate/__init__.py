"""How good is a model really: splits by subject, the sealed test set, and the promotion gate."""

from minivess.evaluate.anchors import Anchor, AnchorResult, synthetic_anchors
from minivess.evaluate.gate_scores import GateScores, ReviewedCase, score_model
from minivess.evaluate.learned import history_of, learned_of, refuse_learned
from minivess.evaluate.looks import Look, approve_look, count_looks, open_look, tell_scores
from minivess.evaluate.promotion import Promotion, choose_model
from minivess.evaluate.sealed import SealedTestSet, find_sealed, fingerprint, refuse_sealed
from minivess.evaluate.splits import SubjectHistory, split_by_subject, subjects_metadata

__all__ = [
    "Anchor",
    "AnchorResult",
    "GateScores",
    "Look",
    "Promotion",
    "ReviewedCase",
    "SealedTestSet",
    "SubjectHistory",
    "approve_look",
    "choose_model",
    "count_looks",
    "find_sealed",
    "fingerprint",
    "history_of",
    "learned_of",
    "open_look",
    "refuse_learned",
    "refuse_sealed",
    "score_model",
    "split_by_subject",
    "subjects_metadata",
    "synthetic_anchors",
    "tell_scores",
]
