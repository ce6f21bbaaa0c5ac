"""How good is a model really: splits by subject, the sealed test set, and the promotion gate."""

from minivess.evaluate.promotion import Promotion, ReviewedCase, mean_dice, promote_if_not_worse
from minivess.evaluate.sealed import SealedTestSet, fingerprint
from minivess.evaluate.splits import SubjectHistory, split_by_subject, subjects_metadata

__all__ = [
    "Promotion",
    "ReviewedCase",
    "SealedTestSet",
    "SubjectHistory",
    "fingerprint",
    "mean_dice",
    "promote_if_not_worse",
    "split_by_subject",
    "subjects_metadata",
]
