"""Enumerations and limits of the review endpoints: ``GET /review/capabilities``, read by both annotator seats at connect."""

from __future__ import annotations

from typing import Any, get_args

from fastapi import APIRouter

from minivess.review.drafts import MAX_STEPS
from minivess.review.edits import Mode
from minivess.review.region_selection import Objective
from minivess.server.accounts import ROLES
from minivess.server.dependencies import UserDrafts
from minivess.server.roles import requires
from minivess.server.routes.review_drafts import MAX_CLICKS
from minivess.server.routes.review_queue import LEASE_S, LIST_LIMIT
from minivess.store.queue_item import VERDICTS, QueueState
from minivess.store.region import RegionKind
from minivess.store.store import REVIEW_STATES

router = APIRouter(prefix="/review", tags=["Review"])
#: The strategy that chooses the next image where no image has a pending queue item.
NEXT_IMAGE_STRATEGY = "uncertainty"


@router.get("/capabilities", summary="Enumerations and limits of the review", dependencies=[requires("reader")])
def capabilities(drafts: UserDrafts) -> dict[str, Any]:
    """Return every enumeration and limit that a client of the review endpoints needs."""
    return {
        "verdicts": list(VERDICTS),
        "states": list(get_args(QueueState)),
        "kinds": list(get_args(RegionKind)),
        "orders": list(get_args(Objective)),
        "modes": list(get_args(Mode)),
        "tools": [
            {"name": name, "description": tool.description, "clicks": tool.clicks, "mode": tool.mode}
            for name, tool in drafts.tools.items()
        ],
        "review_states": list(REVIEW_STATES),
        "roles": list(ROLES),
        "next_image_strategy": NEXT_IMAGE_STRATEGY,
        "lease_s": LEASE_S,
        "limits": {"list": LIST_LIMIT, "clicks": MAX_CLICKS, "draft_steps": MAX_STEPS},
    }
