"""Where cases, label revisions and answers are kept, and the audit chain over them."""

from minivess.store.actor import current_actor, system_user
from minivess.store.audit import AuditChain, Verdict
from minivess.store.model import Case, Revision
from minivess.store.names import FINAL, ORIGINAL
from minivess.store.places import Place, Places
from minivess.store.store import LabelStore

__all__ = [
    "FINAL",
    "ORIGINAL",
    "AuditChain",
    "Case",
    "LabelStore",
    "Place",
    "Places",
    "Revision",
    "Verdict",
    "current_actor",
    "system_user",
]
