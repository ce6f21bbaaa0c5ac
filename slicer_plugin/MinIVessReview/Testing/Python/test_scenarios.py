"""The scenarios of both annotator seats, tests/seats/scenarios.json, at the panel and against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Lab, Relay, get, post
from steps import connect, draw, open_image, press

SCENARIOS = json.loads((Path(__file__).resolve().parents[4] / "tests" / "seats" / "scenarios.json").read_text())["scenarios"]
NUMBERS = {scenario["name"]: number for number, scenario in enumerate(SCENARIOS)}
ANSWERED = ("accepted", "fixed", "skipped")
KEYS = {"next": "N", "accept": "A", "skip": "S", "undo": "U"}
OTHER = "bob"


class Sitting:
    """One scenario: a user of its own, with an image of its own, over a connection of its own."""

    def __init__(self, widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any, image: str) -> None:
        self.widget, self.lab, self.pump, self.qtbot = widget, lab, pump, qtbot
        self.image, self.user, self.relay = image, f"user{NUMBERS[image]}", Relay(lab.url)
        self.visited: list[str] = []
        self.renew_token()
        open_image(widget, image, pump)
        widget.parent.activateWindow()

    def run(self, action: str) -> None:
        if action in KEYS:
            press(self.widget, self.qtbot, KEYS[action])
        else:
            ACTIONS[action](self)
        self.pump(lambda: not self.widget.worker.busy)
        if self.item and self.item["id"] not in self.visited:
            self.visited.append(self.item["id"])

    @property
    def item(self) -> dict[str, Any] | None:
        return self.widget.session.image.item

    # ---- actions

    def draw(self) -> None:
        draw(self.widget, self.item["box"])

    def renew_token(self) -> None:
        self.lab.user("add", self.user)
        connect(self.widget, self.lab, self.pump, self.relay.url, self.user)

    def lose_next_reply(self) -> None:
        self.relay.lose_next_reply = True

    def answer_by_other(self) -> None:
        path = f"{self.lab.url}/review/places/{self.item['id']}"
        post(f"{path}/release", self.lab.tokens[self.user])
        post(f"{path}/take", self.lab.tokens[OTHER])
        post(f"{path}/answer", self.lab.tokens[OTHER], verdict="accepted")

    def damage_oldest_entry(self) -> None:
        self.entries("json")[0].write_text('{"method": "PO')

    def refuse_stroke(self) -> None:
        press(self.widget, self.qtbot, KEYS["next"])  # the region waits for its answer; the stroke goes to the outbox
        self.pump(lambda: not self.widget.worker.busy)
        file = next(file for file in self.entries("json") if "/draft/draw" in file.read_text())
        entry = json.loads(file.read_text())
        entry["body"]["box"][:2] = [10_000, 10_001]
        file.write_text(json.dumps(entry))

    # ---- what the computer stores, and what the server holds

    def entries(self, suffix: str) -> list[Path]:
        return sorted((self.widget.session.folder / "unsent").glob(f"*.{suffix}"))

    def items(self) -> list[dict[str, Any]]:
        """The regions that were visited, as the server has them."""
        token = self.lab.tokens[OTHER]
        return [json.loads(get(f"{self.lab.url}/review/places/{item_id}", token)) for item_id in self.visited]


ACTIONS: dict[str, Callable[[Sitting], None]] = {
    "draw": Sitting.draw,
    "server stops": lambda sitting: sitting.relay.cut(),
    "server starts": lambda sitting: sitting.relay.restore(),
    "lose next reply": Sitting.lose_next_reply,
    "revoke token": lambda sitting: sitting.lab.user("remove", sitting.user),
    "renew token": Sitting.renew_token,
    "somebody else answers": Sitting.answer_by_other,
    "damage unsent entry": Sitting.damage_oldest_entry,
    "refuse stroke": Sitting.refuse_stroke,
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_scenario(widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any, scenario: dict[str, Any]) -> None:
    sitting = Sitting(widget, lab, pump, qtbot, scenario["name"])
    for action in scenario["actions"]:
        sitting.run(action)
    items = sitting.items()
    found = {
        "answered": [item["state"] if item["state"] in ANSWERED else None for item in items],
        "unsent": len(sitting.entries("json")),
        "set_aside": len(sitting.entries("damaged")),
        "asks_for_token": widget.ui.token.text == "",
        "answered_by_other": sum(item["by"] == OTHER and item["state"] in ANSWERED for item in items),
        "message": "refused" if "refused" in widget.ui.message.text.lower() else "",
    }
    expected = {"set_aside": 0, "asks_for_token": False, "answered_by_other": 0, "message": "", **scenario["expect"]}
    answered = expected.get("answered", found["answered"])
    expected["answered"] = answered + [None] * (len(items) - len(answered))  # regions visited later are not answered
    assert found == expected
    assert not sitting.relay.lose_next_reply, "it was lost"
    sitting.relay.cut()
