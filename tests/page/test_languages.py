"""The page in another language: a made-up one, in which every text is marked, so that one that cannot be translated is seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from page.seat import Seat
from playwright.sync_api import Browser, Route
from server.lab import Lab

import minivess.server.page

PAGE = Path(minivess.server.page.__file__).with_name("page")
IMAGES = ("plain",)
#: What is no text of the page: names of the study and its users, sentences of the server, numbers, keys.
NOT_TEXTS = "#image, #studyImages, #queue, kbd, h1, #region, #anchorRows"
#: Every text and attribute that can be seen or heard now.
TEXTS = f"""() => {{
  const found = []
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT)
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {{
    const element = node instanceof Text ? node.parentElement : node
    if (element.closest('{NOT_TEXTS}, script')) continue
    if (node instanceof Text) found.push(node.data.trim())
    else for (const name of ['title', 'aria-label', 'placeholder']) found.push(element.getAttribute(name) ?? '')
  }}
  return found.filter((text) => /[a-z]{{2}}/i.test(text))
}}"""


@pytest.fixture
def marked(chromium: Browser, lab: Lab) -> Iterator[Seat]:
    """An annotator whose browser asks for German, which is here English with marks around each text."""
    page = chromium.new_context(viewport={"width": 1200, "height": 760}, locale="de-DE").new_page()
    english = json.loads((PAGE / "texts" / "en.json").read_text())
    german = {key: f"«{text}»" for key, text in english.items()}
    index = (PAGE / "index.html").read_text().replace('name="languages" content="en"', 'name="languages" content="en de"')

    def answer(body: str, kind: str) -> object:
        return lambda route: Route.fulfill(route, body=body, content_type=kind)

    page.route("**/app/", answer(index, "text/html"))
    page.route("**/app/texts/de.json", answer(json.dumps(german), "application/json"))
    page.on("dialog", lambda dialog: dialog.accept())
    yield Seat(page, lab, "ada")
    page.context.close()


def in_english(texts: list[str]) -> list[str]:
    """List the texts that no mark is around; values in a marked text may hold others."""
    return [text for text in texts if not (text.startswith("«") and text.endswith("»"))]


def test_every_text_of_the_page_can_be_translated(marked: Seat) -> None:
    page = marked.page
    marked.connect().choose("plain")
    assert page.evaluate("() => document.documentElement.lang") == "de"
    marked.press("p")
    marked.stroke()
    marked.press("u")
    page.click("#study")
    page.wait_for_function("() => document.querySelectorAll('#studyImages tr').length")
    page.wait_for_function("() => document.getElementById('trained').textContent")
    texts = page.evaluate(TEXTS)
    assert len(texts) > 120
    assert in_english(texts) == []
    queue = page.inner_text("#queue")
    assert re.search(r"«(gap|spur|false merge|faint branch|blob|boundary|random check)»", queue)
    assert "«open»" in queue


def test_a_browser_in_a_language_that_is_not_there_gets_english(chromium: Browser, lab: Lab) -> None:
    page = chromium.new_context(locale="fr-FR").new_page()
    failed: list[str] = []
    page.on("response", lambda reply: failed.append(reply.url) if reply.status >= 400 else None)
    page.goto(f"{lab.server.url}/app/")
    page.wait_for_function("() => window.minivess")
    assert page.inner_text("#connect button") == "Connect"
    assert page.evaluate("() => document.documentElement.lang") == "en"
    assert not [url for url in failed if "texts" in url]
    page.context.close()
