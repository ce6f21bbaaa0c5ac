"""What the review endpoints accept, for the two annotator seats: ``GET /review/capabilities``, read once at connect."""

from __future__ import annotations

from typing import Any, get_args

from fastapi import APIRouter

from minivess.review.drafts import MOST_STEPS
from minivess.review.edits import Mode
from minivess.review.places import Order
from minivess.review.region import Kind
from minivess.review.tools import TOOLS
from minivess.server.drafts import MAX_CLICKS
from minivess.server.people import ROLES
from minivess.server.review import LEASE_S, LIST_LIMIT
from minivess.store.places import Answer, State
from minivess.store.store import REVIEW_STATES

router = APIRouter(prefix="/review", tags=["Review"])
#: The strategy that chooses the next image where no image has an open queue item.
NEXT_IMAGE_STRATEGY = "uncertainty"


@router.get("/capabilities", summary="Enumerations and limits of the review endpoints")
def capabilities() -> dict[str, Any]:
    """Return every enumeration and limit that a client of the review endpoints needs."""
    return {
        "verdicts": list(get_args(Answer)),
        "states": list(get_args(State)),
        "kinds": list(get_args(Kind)),
        "orders": list(get_args(Order)),
        "modes": list(get_args(Mode)),
        "tools": [
            {"name": name, "description": tool.words, "clicks": tool.clicks, "mode": tool.mode} for name, tool in TOOLS.items()
        ],
        "review_states": list(REVIEW_STATES),
        "roles": list(ROLES),
        "next_image_strategy": NEXT_IMAGE_STRATEGY,
        "lease_s": LEASE_S,
        "limits": {"list": LIST_LIMIT, "clicks": MAX_CLICKS, "draft_steps": MOST_STEPS},
    }
