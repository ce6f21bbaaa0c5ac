"""How good is a model really: the sealed test set, which no model may learn from."""

from minivess.evaluate.sealed import SealedTestSet, fingerprint

__all__ = ["SealedTestSet", "fingerprint"]
