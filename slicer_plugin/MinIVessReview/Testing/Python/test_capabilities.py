"""What the panel offers: its keys, the tools and limits of the server; its parts do not refer to it."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from MinIVessReviewLib.panel import KEYS
from running import Lab
from steps import connect, open_image, press


def test_each_key_presses_its_button(widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any) -> None:
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    widget.parent.activateWindow()
    pressed: list[str] = []
    for key, name in KEYS.items():
        button = getattr(widget.ui, name)
        assert f"({key})" in button.text, "the button names its key"
        button.connect("pressed()", lambda name=name: pressed.append(name))
        button.setEnabled(True)
    press(widget, qtbot, "M")
    assert not widget.session.image.scene.mask_visible
    press(widget, qtbot, "M")
    assert widget.session.image.scene.mask_visible
    for key, effect in (("E", "Erase"), ("F", "Paint"), ("P", "")):
        press(widget, qtbot, key)
        assert widget.display.editor_node.GetActiveEffectName() == effect
    assert widget.clicks.tool == "path"
    for key, tool in (("C", "connect"), ("D", "remove"), ("D", ""), ("K", "specks"), ("B", "grow"), ("T", "smooth"), ("T", "")):
        press(widget, qtbot, key)
        assert widget.clicks.tool == tool
    press(widget, qtbot, "X")  # left to the Segment Editor
    assert widget.clicks.tool == ""
    for key in ("V", "V", "O", "O", "G", "A", "S", "U", "R", "N"):
        press(widget, qtbot, key)
        pump(lambda: not widget.worker.busy)
    assert set(pressed) == set(KEYS.values())


def test_tools_that_the_server_does_not_offer_are_disabled(widget: Any, lab: Lab, pump: Callable[..., int], qtbot: Any) -> None:
    connect(widget, lab, pump)
    server = widget.session.tasks.server
    assert server.clicks == {"path": 2, "connect": 2, "cut": 1, "remove": 1, "specks": 1, "grow": 1, "smooth": 1}
    tools = [{**tool, "clicks": 3} for tool in server.capabilities["tools"] if tool["name"] in ("path", "grow")]
    widget.session.tasks.server = server._replace(capabilities={**server.capabilities, "tools": tools})
    open_image(widget, "listed", pump)
    widget.parent.activateWindow()
    assert [tool for tool in widget.display.tools if getattr(widget.ui, f"tool_{tool}").enabled] == ["grow", "path"]
    press(widget, qtbot, "C")
    assert widget.clicks.tool == ""
    widget.ui.tool_path.click()
    assert "point 1 of 3" in widget.ui.message.text
    corner = np.array(widget.session.image.status["affine_ras"])[:3, 3]
    for number in (2, 3):
        widget.clicks.points.AddControlPointWorld(*corner)
        assert f"point {number} of 3" in widget.ui.message.text


def test_the_list_is_as_long_as_the_server_allows(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    connect(widget, lab, pump)
    server = widget.session.tasks.server
    widget.session.tasks.server = server._replace(capabilities={**server.capabilities, "limits": {"list": 3}})
    open_image(widget, "listed", pump)
    assert widget.ui.queue.rowCount == 3


def test_no_part_refers_to_the_panel(widget: Any, lab: Lab, pump: Callable[..., int]) -> None:
    """A panel that is deleted by the garbage collector in the worker's thread would crash Slicer."""
    connect(widget, lab, pump)
    open_image(widget, "listed", pump)
    stack, found = [widget.session, widget.training, widget.editing, widget.submission, widget.worker], {}
    while stack:
        part = stack.pop()
        own = type(part).__module__.startswith("MinIVessReviewLib")
        if id(part) not in found and (own or isinstance(part, dict | list | tuple | types.MethodType | partial)):
            found[id(part)] = part
            stack += gc.get_referents(part)
    assert id(widget.display) in found
    assert id(widget) not in found
