"""The scenarios of both annotator seats, tests/seats/scenarios.json, at the page and against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from page.conftest import SCENARIOS
from page.seat import Seat
from playwright.sync_api import Route

from minivess.server import Accounts, accounts_path

ANSWERED = ("accepted", "fixed", "skipped")
OTHER = "bob"
IMAGES = tuple(scenario["name"] for scenario in SCENARIOS)


class Sitting:
    """One scenario: an annotator of its own, on an image of its own."""

    def __init__(self, seat: Seat, image: str) -> None:
        self.seat, self.image = seat, image
        self.accounts = Accounts(accounts_path(seat.lab.folder))
        self.visited: list[str] = []
        seat.user = f"user{NUMBERS[image]}"
        self.renew_account()

    def run(self, action: str) -> None:
        ACTIONS[action](self)
        if self.seat.item and self.seat.item["id"] not in self.visited:
            self.visited.append(self.seat.item["id"])

    def renew_account(self) -> None:
        self.seat.lab.tokens[self.seat.user] = self.accounts.add(self.seat.user, "annotator")

    # ---- actions

    def draw(self) -> None:
        self.seat.press("f")
        self.seat.stroke()
        self.seat.press("Escape")

    def cut_connection(self, cut: bool) -> None:
        self.seat.page.context.set_offline(cut)

    def lose_next_reply(self) -> None:
        lost: list[str] = []

        def lose(route: Route) -> None:
            if lost or route.request.method != "POST":
                route.fallback()
                return
            lost.append(route.request.url)
            assert route.fetch().ok
            route.abort()

        self.seat.page.route("**/*", lose)

    def revoke_token(self) -> None:
        self.accounts.remove(self.seat.user)

    def renew_token(self) -> None:
        self.renew_account()
        self.seat.enter_token()

    def answer_by_other(self) -> None:
        path, ask = f"/review/places/{self.seat.item['id']}", self.seat.lab.ask
        ask("POST", f"{path}/release", self.seat.user).raise_for_status()
        ask("POST", f"{path}/take", OTHER).raise_for_status()
        ask("POST", f"{path}/answer", OTHER, data={"verdict": "accepted"}).raise_for_status()

    def damage_oldest_entry(self) -> None:
        self.write(self.entries("unsent")[0], '{"method": "PO')

    def refuse_stroke(self) -> None:
        key = next(key for key in self.entries("unsent") if self.read(key)["path"].endswith("/draft/draw"))
        entry = self.read(key)
        entry["body"]["box"][:2] = [10_000, 10_001]
        self.write(key, json.dumps(entry))

    # ---- what the browser stores, and what the server holds

    def entries(self, what: str) -> list[str]:
        keys = self.seat.page.evaluate("() => Object.keys(localStorage)")
        return sorted(key for key in keys if key.startswith(f"minivess.{what}.{self.seat.user}."))

    def read(self, key: str) -> dict[str, Any]:
        return json.loads(self.seat.page.evaluate("(key) => localStorage.getItem(key)", key))

    def write(self, key: str, text: str) -> None:
        self.seat.page.evaluate("([key, text]) => localStorage.setItem(key, text)", [key, text])

    def items(self) -> list[dict[str, Any]]:
        """The regions that were visited, as the server has them."""
        return [self.seat.lab.ask("GET", f"/review/places/{name}", OTHER).json() for name in self.visited]


NUMBERS = {scenario["name"]: number for number, scenario in enumerate(SCENARIOS)}
ACTIONS: dict[str, Callable[[Sitting], None]] = {
    "next": lambda sitting: sitting.seat.press("n"),
    "accept": lambda sitting: sitting.seat.press("a"),
    "skip": lambda sitting: sitting.seat.press("s"),
    "undo": lambda sitting: sitting.seat.press("u"),
    "draw": Sitting.draw,
    "server stops": lambda sitting: sitting.cut_connection(True),
    "server starts": lambda sitting: sitting.cut_connection(False),
    "lose next reply": Sitting.lose_next_reply,
    "revoke token": Sitting.revoke_token,
    "renew token": Sitting.renew_token,
    "somebody else answers": Sitting.answer_by_other,
    "damage unsent entry": Sitting.damage_oldest_entry,
    "refuse stroke": Sitting.refuse_stroke,
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_scenario(seat: Seat, scenario: dict[str, Any]) -> None:
    sitting = Sitting(seat, scenario["name"])
    seat.connect(sitting.image)
    for action in scenario["actions"]:
        sitting.run(action)
    items = sitting.items()
    found = {
        "answered": [item["state"] if item["state"] in ANSWERED else None for item in items],
        "unsent": len(sitting.entries("unsent")),
        "set_aside": len(sitting.entries("aside")),
        "asks_for_token": seat.page.is_visible("#token"),
        "answered_by_other": sum(item["by"] == OTHER and item["state"] in ANSWERED for item in items),
        "message": "refused" if "refused" in seat.message.lower() else "",
    }
    expected = {"set_aside": 0, "asks_for_token": False, "answered_by_other": 0, "message": "", **scenario["expect"]}
    expected["answered"] = _padded(expected.get("answered", found["answered"]), len(items))
    assert found == expected


def _padded(answered: list[str | None], visited: int) -> list[str | None]:
    """The regions visited after the listed ones are not answered."""
    return answered + [None] * (visited - len(answered))
