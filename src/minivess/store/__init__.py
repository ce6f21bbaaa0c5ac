"""The store: cases (images), label revisions, the review queue with its verdicts, and the audit chain over them.

The public classes are exported here. :class:`LabelStore` opens the store of a studies folder.
"""

from minivess.store.actor import current_actor, system_user
from minivess.store.audit import AuditChain, VerificationResult
from minivess.store.names import FINAL, ORIGINAL
from minivess.store.queue import ReviewQueue
from minivess.store.queue_item import Answer, QueueItem
from minivess.store.records import Case, Revision, RevisionInfo
from minivess.store.region import Region
from minivess.store.store import LabelStore

__all__ = [
    "FINAL",
    "ORIGINAL",
    "Answer",
    "AuditChain",
    "Case",
    "LabelStore",
    "QueueItem",
    "Region",
    "ReviewQueue",
    "Revision",
    "RevisionInfo",
    "VerificationResult",
    "current_actor",
    "system_user",
]
