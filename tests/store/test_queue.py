"""The review queue: order, reservations, answers; what happens to it when a newer model proposes another one."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.conftest import regions_of

from minivess.errors import ConflictError, InputError, NotFoundError, OutdatedError
from minivess.store import Answer, LabelStore, QueueItem
from minivess.store.repair import repair_store

MODEL = "5e" * 32


@pytest.fixture
def store(studies: Path) -> LabelStore:
    opened = LabelStore(studies)
    opened.images.scan()
    return opened


def propose(store: LabelStore, *expected_errors: float, image_id: str = "a", model: str = MODEL) -> int:
    return store.queue.propose(image_id, regions_of(*expected_errors), model=model, actor="server")


def reserve(store: LabelStore, holder: str, seconds: float = 60) -> QueueItem:
    item = store.queue.next(holder, seconds=seconds)
    assert item is not None
    return item


def test_propose__stores_regions_and_model(store: LabelStore) -> None:
    number = propose(store, 5.0, 1.0)
    items, total = store.queue.all("a")
    assert total == 2
    assert [item.region for item in items] == regions_of(5.0, 1.0)
    assert [(item.id, item.model, item.state, item.holder, item.answer) for item in items] == [
        (f"a:{number}.{rank}", MODEL, "pending", "", None) for rank in range(2)
    ]
    assert {item.queue for item in items} == {f"a:{number}"}


def test_propose__of_an_unknown_image_is_refused(store: LabelStore) -> None:
    with pytest.raises(NotFoundError, match="no image"):
        propose(store, 1.0, image_id="z")


def test_propose__by_a_newer_model_leaves_answers_unchanged(store: LabelStore) -> None:
    propose(store, 3.0, 2.0, 1.0)
    store.queue.answer(reserve(store, "ann").id, "fixed", actor="ann")
    reserved = reserve(store, "ann")
    propose(store, 9.0, model="ab" * 32)
    states = {item.region.expected_errors: item.state for item in store.queue.all("a")[0]}
    assert states == {9.0: "pending", 3.0: "fixed", 2.0: "obsolete", 1.0: "obsolete"}
    assert store.queue.answer(reserved.id, "fixed", actor="ann").state == "fixed"  # who had reserved it may finish
    with pytest.raises(ConflictError, match="is obsolete"):
        store.queue.answer(f"{reserved.queue}.2", "fixed", actor="bob")
    assert len(store.queue.answered("a")) == 2


def test_next__returns_most_expected_errors_first_from_all_images(store: LabelStore) -> None:
    (other,) = {case.id for case in store.images.all()} - {"a"}
    propose(store, 5.0, 1.0)
    propose(store, 3.0, image_id=other)
    expected_errors = []
    while (item := store.queue.next("ann", seconds=60)) is not None:
        expected_errors.append(item.region.expected_errors)
        store.queue.answer(item.id, "accepted", actor="ann")
    assert expected_errors == [5.0, 3.0, 1.0]
    assert [item.state for item in store.queue.all()[0]] == ["accepted"] * 3


def test_next__of_one_image_only(store: LabelStore) -> None:
    propose(store, 5.0)
    propose(store, 3.0, image_id="mouse2__b")
    item = store.queue.next("ann", seconds=60, image_id="mouse2__b")
    assert item is not None
    assert (item.image_id, item.region.expected_errors) == ("mouse2__b", 3.0)
    store.images.remove("a", actor="rita")
    assert store.queue.next("bob", seconds=60) is None  # items of removed images are not offered


@pytest.mark.requirement("R12")
def test_next__never_gives_one_item_to_two_annotators(store: LabelStore) -> None:
    propose(store, *range(60, 0, -1))
    reserved: list[str] = []

    def work(name: str) -> None:
        while (item := store.queue.next(name, seconds=60)) is not None:
            reserved.append(item.id)
            store.queue.answer(item.id, "fixed", actor=name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reserved) == len(set(reserved)) == 60


def test_next__repeats_the_holder_s_item_and_frees_it_after_the_time(store: LabelStore) -> None:
    propose(store, 2.0, 1.0)
    first = reserve(store, "ann")
    assert first.state == "leased"
    assert store.queue.next("ann", seconds=60) == first
    assert reserve(store, "bob").id != first.id
    assert store.queue.next("cyd", seconds=60) is None
    store.queue.release(first.id, "ann")
    assert reserve(store, "cyd", seconds=-1).id == first.id  # a reservation that expires at once
    assert store.queue.next("ann", seconds=60) is not None


def test_release__of_another_user_s_item_has_no_effect(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    store.queue.release(item.id, "bob")
    assert store.queue.get(item.id) == item


def test_take__reserves_a_chosen_item_unless_another_user_has_it(store: LabelStore) -> None:
    propose(store, 3.0, 2.0, 1.0)
    first = reserve(store, "ann")
    third = store.queue.all("a")[0][2]
    taken = store.queue.take(third.id, "ann", seconds=60)
    assert (taken.state, taken.holder) == ("leased", "ann")
    with pytest.raises(ConflictError, match="reserved for ann"):
        store.queue.take(third.id, "bob", seconds=60)
    store.queue.answer(third.id, "accepted", actor="ann")
    with pytest.raises(ConflictError, match="answered by ann"):
        store.queue.take(third.id, "bob", seconds=60)
    assert store.queue.next("ann", seconds=60) == first
    with pytest.raises(NotFoundError):
        store.queue.take("a:1.77", "ann", seconds=60)


@pytest.mark.requirement("R12")
def test_answer__of_an_item_reserved_or_answered_by_another_user_is_refused(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    with pytest.raises(ConflictError, match="reserved for ann"):
        store.queue.answer(item.id, "accepted", actor="bob")
    store.queue.answer(item.id, "fixed", actor="ann", mask="eJw=", seconds=12.34)
    repeated = store.queue.answer(item.id, "fixed", actor="ann")
    assert repeated.answer == Answer(3, "eJw=", 12.3)
    with pytest.raises(ConflictError, match="was answered by ann: fixed"):
        store.queue.answer(item.id, "accepted", actor="bob")


def test_reopen__withdraws_an_answer(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    store.queue.answer(item.id, "fixed", actor="ann")
    reopened = store.queue.reopen(item.id, actor="ann")
    assert (reopened.state, reopened.holder, reopened.answer) == ("pending", "", None)
    with pytest.raises(ConflictError, match="no answer that could be withdrawn"):
        store.queue.reopen(item.id, actor="ann")
    assert store.queue.answer(item.id, "accepted", actor="bob").holder == "bob"


def test_reopen__reserves_the_item_against_a_newer_queue(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    store.queue.answer(item.id, "fixed", actor="ann")
    assert store.queue.reopen(item.id, actor="ann", reserve_s=60).holder == "ann"
    propose(store, 1.0)
    assert store.queue.take(item.id, "ann", seconds=60).id == item.id
    assert store.queue.answer(item.id, "accepted", actor="ann").state == "accepted"


def test_all__leaves_out_removed_images(store: LabelStore) -> None:
    propose(store, 2.0)
    propose(store, 1.0, image_id="mouse2__b")
    store.images.remove("a", actor="ann")
    items, total = store.queue.all()
    assert ([item.image_id for item in items], total) == (["mouse2__b"], 1)


def test_answer__of_the_same_user_with_other_voxels_is_refused(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    store.queue.answer(item.id, "fixed", actor="ann", sent="one")
    assert store.queue.is_answered_as(item.id, "fixed", actor="ann", sent="one")
    with pytest.raises(ConflictError, match="Withdraw that answer first"):
        store.queue.is_answered_as(item.id, "fixed", actor="ann", sent="other")
    with pytest.raises(ConflictError, match="Withdraw that answer first"):
        store.queue.answer(item.id, "fixed", actor="ann", sent="other")


def test_answer__made_from_an_image_that_has_changed_since_is_refused(store: LabelStore) -> None:
    propose(store, 2.0, 1.0)
    last = store.queue.last_event("a")
    first, second = reserve(store, "ann"), reserve(store, "bob")
    store.queue.answer(first.id, "accepted", actor="ann", last_event=last)
    with pytest.raises(OutdatedError):
        store.queue.answer(second.id, "accepted", actor="bob", last_event=last)
    assert store.queue.answer(second.id, "accepted", actor="bob", last_event=store.queue.last_event("a")).state == "accepted"


def test_is_answered_as__recognises_a_repeated_request(store: LabelStore) -> None:
    propose(store, 2.0)
    item = reserve(store, "ann")
    assert not store.queue.is_answered_as(item.id, "fixed", actor="ann")
    store.queue.answer(item.id, "fixed", actor="ann")
    assert store.queue.is_answered_as(item.id, "fixed", actor="ann")
    with pytest.raises(ConflictError, match="was answered by ann"):
        store.queue.is_answered_as(item.id, "accepted", actor="ann")


def test_queue__survives_a_lost_index_and_is_audited(store: LabelStore, studies: Path) -> None:
    propose(store, 3.0, 2.0, 1.0)
    for verdict in ("accepted", "skipped"):
        store.queue.answer(reserve(store, "ann").id, verdict, actor="ann", seconds=3.0)
    before = store.queue.all()[0]
    assert repair_store(store)["faults"] == []
    assert store.queue.all()[0] == before
    assert LabelStore(studies).queue.all()[0] == before
    assert store.journal.audit.verify().ok
    text = store.journal.audit.path.read_text()
    assert text.count("answer.entered") == 2
    assert '"rank":0' in text.replace(" ", "")


def test_all__is_paged_and_filtered_by_state(store: LabelStore) -> None:
    propose(store, *range(10, 0, -1))
    item = reserve(store, "ann")
    page, total = store.queue.all("a", states=["pending"], offset=2, limit=3)
    assert total == 9
    assert [row.region.expected_errors for row in page] == [7, 6, 5]
    assert [row.id for row in store.queue.all(states=["leased"])[0]] == [item.id]


def test_answered__lists_the_oldest_answer_first(store: LabelStore) -> None:
    propose(store, 3.0, 2.0, 1.0)
    items = store.queue.all("a")[0]
    for item in reversed(items):
        store.queue.answer(item.id, "accepted", actor="ann")
    assert [item.id for item in store.queue.answered("a")] == [item.id for item in reversed(items)]
    assert store.queue.count_answers() == {"a": 3}


@pytest.mark.parametrize("item_id", ["", "a", "a:1", "a:x.1", "a:1.99", ":1.1", "a:99999999999999999999.1"])
def test_get__of_an_unknown_id_is_refused(store: LabelStore, item_id: str) -> None:
    with pytest.raises(NotFoundError):
        store.queue.get(item_id)
    with pytest.raises(NotFoundError):
        store.queue.answer(item_id, "fixed", actor="ann")


def test_answer__with_an_unknown_verdict_is_refused(store: LabelStore) -> None:
    propose(store, 1.0)
    with pytest.raises(InputError, match="accepted, fixed, skipped"):
        store.queue.answer("a:2.0", "maybe", actor="ann")


def test_queue__after_any_sequence_answered_items_stay_answered(store: LabelStore) -> None:
    choice = random.Random(0)
    answered: dict[str, str] = {}
    for _ in range(120):
        move = choice.choice(["next", "answer", "answer", "propose", "reopen", "repair"])
        user = choice.choice(["ann", "bob"])
        if move == "propose":
            propose(store, *(choice.random() for _ in range(3)))
        elif move == "reopen" and answered:
            item_id = choice.choice(list(answered))
            store.queue.reopen(item_id, actor=user)
            del answered[item_id]
        elif move == "repair" and choice.random() < 0.2:
            repair_store(store)
        else:
            item = store.queue.next(user, seconds=60)
            if item is not None:
                assert item.id not in answered
                if move == "answer":
                    verdict = choice.choice(["accepted", "fixed", "skipped"])
                    store.queue.answer(item.id, verdict, actor=user)
                    answered[item.id] = verdict
        assert {item.id: item.state for item in store.queue.answered("a")} == answered


def test_next__what_was_skipped_and_opened_again_is_not_for_who_has_skipped_it__and_keeps_the_note(store: LabelStore) -> None:
    propose(store, 3.0)
    item = reserve(store, "ann")
    store.queue.answer(item.id, "skipped", actor="ann", note="blurred")
    assert store.queue.reopen(item.id, actor="bob", reserve_s=60).skipped_note == "blurred"
    store.queue.release(item.id, "bob")
    assert store.queue.next("ann", seconds=60) is None
    again = reserve(store, "cleo")
    assert (again.id, again.skipped_note) == (item.id, "blurred")
    repair_store(store)
    assert store.queue.get(item.id).skipped_note == "blurred"
    store.queue.answer(item.id, "accepted", actor="cleo")
    assert store.queue.get(item.id).skipped_note == ""


def test_propose__keeps_what_is_reserved_and_leaves_out_what_was_taken_meanwhile(store: LabelStore) -> None:
    propose(store, 3.0, 2.0)
    early = store.queue.next("ann", seconds=60)
    assert early
    late = store.queue.next("bob", seconds=60)
    assert late
    store.queue.propose("a", regions_of(9.0), model=MODEL, actor="server", considered={early.id})
    states = {item.region.expected_errors: item.state for item in store.queue.all("a")[0]}
    assert states == {3.0: "leased", 2.0: "leased"}, "the new region lies where one was reserved meanwhile"
    repair_store(store)
    assert {item.state for item in store.queue.all("a")[0]} == {"pending"}, "reservations are not recorded, what was kept is"


def test_queue_item__json_has_the_keys_that_clients_read() -> None:
    (region,) = regions_of(2.5)
    item = QueueItem("a:4.0", "a", region, MODEL, "fixed", "ann", Answer(7, "eJw=", 3.5))
    assert item.to_json() == {
        **region.to_json(),
        "model": MODEL,
        "id": "a:4.0",
        "case": "a",
        "state": "fixed",
        "by": "ann",
        "answer": {"number": 7, "mask": "eJw=", "seconds": 3.5},
    }
    free = QueueItem("a:4.0", "a", region, "", "pending", "", None).to_json()
    assert (free["by"], free["answer"]) == ("", {})


@given(
    st.builds(
        Answer,
        number=st.integers(1, 10**6),
        mask=st.text(max_size=20),
        seconds=st.none() | st.floats(0, 1e6, allow_nan=False),
    )
)
def test_answer__json_round_trip(answer: Answer) -> None:
    assert Answer.from_json(answer.to_json()) == answer


def test_answer__from_json_without_an_answer_is_none() -> None:
    assert Answer.from_json({}) is None
    assert Answer.from_json({"number": 3, "why": "a key of an older version"}) == Answer(3)
