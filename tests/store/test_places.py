from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.store import LabelStore
from minivess.store.repair import repair_store


def regions(*worth: float) -> list[dict[str, Any]]:
    return [{"box": [0, 4, 0, 4, 0, 2], "kind": "gap", "expected_errors": w} for w in worth]


@pytest.fixture
def store(studies: Path) -> LabelStore:
    opened = LabelStore(studies)
    opened.images.scan()
    return opened


def test_the_most_worth_comes_first_from_whichever_case(store: LabelStore) -> None:
    (other,) = {case.id for case in store.images.all()} - {"a"}
    store.places.propose("a", regions(5.0, 1.0), actor="server", about={})
    store.places.propose(other, regions(3.0), actor="server", about={})
    seen = []
    while (place := store.places.next("ann", seconds=60)) is not None:
        seen.append(place.region["expected_errors"])
        store.places.answer(place.id, "accepted", actor="ann")
    assert seen == [5.0, 3.0, 1.0]
    assert [p.state for p in store.places.all()[0]] == ["accepted"] * 3


def test_two_annotators_never_get_the_same_place(store: LabelStore) -> None:
    store.places.propose("a", regions(*range(60, 0, -1)), actor="server", about={})
    given: list[str] = []

    def work(name: str) -> None:
        while (place := store.places.next(name, seconds=60)) is not None:
            given.append(place.id)
            store.places.answer(place.id, "fixed", actor=name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == len(set(given)) == 60


def test_a_place_is_given_again_to_who_holds_it_and_to_others_when_time_is_up(store: LabelStore) -> None:
    store.places.propose("a", regions(2.0, 1.0), actor="server", about={})
    first = store.places.next("ann", seconds=60)
    assert first is not None
    assert first.state == "leased"
    assert store.places.next("ann", seconds=60) == first
    other = store.places.next("bob", seconds=60)
    assert other is not None
    assert other.id != first.id
    assert store.places.next("cyd", seconds=60) is None
    store.places.release(first.id, "ann")
    again = store.places.next("cyd", seconds=-1)  # a lease that is over at once
    assert again is not None
    assert again.id == first.id
    assert store.places.next("ann", seconds=60) is not None


def test_what_others_look_at_or_have_answered_cannot_be_answered(store: LabelStore) -> None:
    store.places.propose("a", regions(2.0), actor="server", about={})
    place = store.places.next("ann", seconds=60)
    assert place is not None
    with pytest.raises(ConflictError, match="ann is looking"):
        store.places.answer(place.id, "accepted", actor="bob")
    store.places.answer(place.id, "fixed", actor="ann", details={"seconds": 12})
    assert store.places.answer(place.id, "fixed", actor="ann").answer["seconds"] == 12  # sent twice
    with pytest.raises(ConflictError, match="was answered by ann: fixed"):
        store.places.answer(place.id, "accepted", actor="bob")
    assert store.places.reopen(place.id, actor="ann").state == "pending"
    with pytest.raises(ConflictError, match="nothing to take back"):
        store.places.reopen(place.id, actor="ann")
    assert store.places.answer(place.id, "accepted", actor="bob").holder == "bob"


def test_a_newer_model_leaves_answers_alone(store: LabelStore) -> None:
    store.places.propose("a", regions(3.0, 2.0, 1.0), actor="server", about={"model": "old"})
    (first,) = [store.places.next("ann", seconds=60)]
    assert first is not None
    store.places.answer(first.id, "fixed", actor="ann")
    held = store.places.next("ann", seconds=60)
    assert held is not None
    store.places.propose("a", regions(9.0), actor="server", about={"model": "new"})
    states = {p.region["expected_errors"]: p.state for p in store.places.all("a")[0]}
    assert states == {9.0: "pending", 3.0: "fixed", 2.0: "obsolete", 1.0: "obsolete"}
    assert store.places.answer(held.id, "fixed", actor="ann").state == "fixed"  # whoever was at it may finish
    with pytest.raises(ConflictError, match="no longer asks"):
        store.places.answer(f"a:{held.id.split(':')[1].split('.')[0]}.2", "fixed", actor="bob")
    assert len(store.places.answered("a")) == 2


def test_the_queue_survives_a_lost_index_and_is_audited(store: LabelStore, studies: Path) -> None:
    store.places.propose("a", regions(3.0, 2.0, 1.0), actor="server", about={})
    for verdict in ("accepted", "skipped"):
        place = store.places.next("ann", seconds=60)
        assert place is not None
        store.places.answer(place.id, verdict, actor="ann", details={"why": verdict})
    before = store.places.all()[0]
    assert repair_store(store)["faults"] == []
    assert store.places.all()[0] == before
    assert LabelStore(studies).places.all()[0] == before
    assert store.journal.audit.verify().ok
    text = store.journal.audit.path.read_text()
    assert text.count("answer.entered") == 2
    assert '"rank":0' in text.replace(" ", "")
    assert "queue.entered" in text


def test_lists_are_paged_and_filtered(store: LabelStore) -> None:
    store.places.propose("a", regions(*range(10, 0, -1)), actor="server", about={})
    place = store.places.next("ann", seconds=60)
    assert place is not None
    page, total = store.places.all("a", states=["pending"], offset=2, limit=3)
    assert total == 9
    assert [p.region["expected_errors"] for p in page] == [7, 6, 5]
    assert [p.id for p in store.places.all(states=["leased"])[0]] == [place.id]
    assert place.to_json()["by"] == "ann"


@pytest.mark.parametrize("name", ["", "a", "a:1", "a:x.1", "a:1.99", ":1.1", "a:99999999999999999999.1"])
def test_a_place_that_is_none(store: LabelStore, name: str) -> None:
    with pytest.raises(NotFoundError):
        store.places.get(name)
    with pytest.raises(NotFoundError):
        store.places.answer(name, "fixed", actor="ann")


def test_places_of_no_image_are_refused(store: LabelStore) -> None:
    with pytest.raises(NotFoundError, match="no image"):
        store.places.propose("z", regions(1.0), actor="server", about={})


def test_an_answer_that_is_none(store: LabelStore) -> None:
    store.places.propose("a", regions(1.0), actor="server", about={})
    with pytest.raises(InputError, match="accepted, fixed, skipped"):
        store.places.answer("a:2.0", "maybe", actor="ann")


def test_after_any_sequence_answered_places_stay_answered(store: LabelStore) -> None:
    chance = random.Random(0)
    answered: dict[str, str] = {}
    for _ in range(120):
        move = chance.choice(["next", "answer", "answer", "propose", "reopen", "repair"])
        who = chance.choice(["ann", "bob"])
        if move == "propose":
            store.places.propose("a", regions(*(chance.random() for _ in range(3))), actor="server", about={})
        elif move == "reopen" and answered:
            place_id = chance.choice(list(answered))
            store.places.reopen(place_id, actor=who)
            del answered[place_id]
        elif move == "repair" and chance.random() < 0.2:
            repair_store(store)
        else:
            place = store.places.next(who, seconds=60)
            if place is not None:
                assert place.id not in answered
                if move == "answer":
                    verdict = chance.choice(["accepted", "fixed", "skipped"])
                    store.places.answer(place.id, verdict, actor=who)
                    answered[place.id] = verdict
        assert {p.id: p.state for p in store.places.answered("a")} == answered


def test_a_place_is_chosen_from_the_list_unless_somebody_is_at_it(store: LabelStore) -> None:
    store.places.propose("a", regions(3.0, 2.0, 1.0), actor="server", about={})
    first = store.places.next("ann", seconds=60)
    third = store.places.all("a")[0][2]
    assert first is not None
    taken = store.places.take(third.id, "ann", seconds=60)
    assert (taken.state, taken.holder) == ("leased", "ann")
    with pytest.raises(ConflictError, match="ann is looking"):
        store.places.take(third.id, "bob", seconds=60)
    store.places.answer(third.id, "accepted", actor="ann")
    with pytest.raises(ConflictError, match="answered by ann"):
        store.places.take(third.id, "bob", seconds=60)
    assert store.places.next("ann", seconds=60) == first
    with pytest.raises(NotFoundError):
        store.places.take("a:1.77", "ann", seconds=60)
