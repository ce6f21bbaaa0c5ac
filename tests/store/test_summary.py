from __future__ import annotations

from pathlib import Path

import pytest
from review.example import answer_items, make_prediction, make_service, read_image

from minivess.store.summary import ImageSummary, summarise_images


def test_summarise_images__of_an_image_in_review_and_one_that_nobody_has_begun(tmp_path: Path) -> None:
    service = make_service(tmp_path)
    journal = service.store.journal
    assert summarise_images(journal, ["b", "a"]) == [ImageSummary("b"), ImageSummary("a")]
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "one"), actor="server", count=20)
    answer_items(service, "ann", 3)
    reserved = service.store.queue.next("bob", seconds=60)
    (found,) = summarise_images(journal, ["a"])
    items = service.store.queue.all("a", limit=-1)[0]
    open_items = [item for item in items if item.state in ("pending", "leased")]
    assert reserved in open_items
    assert (found.items, found.answered, found.who, found.revision) == (len(items), 3, ("ann", "bob"), None)
    assert found.expected_errors_left == pytest.approx(sum(item.region.expected_errors for item in open_items))
    assert found.to_json()["places"] == len(items)
