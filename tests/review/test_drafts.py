"""Prompts, strokes, answers, undo and new models in any order: what is locked stays, what was answered does not come back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from review.test_desk import SHAPE, image, predicted, studio

from minivess.errors import ConflictError, InputError, NotFoundError, StoreError
from minivess.review.desk import ReviewDesk
from minivess.review.drafts import Drafts
from minivess.review.region import Region, slices_of
from minivess.review.tools import TOOLS


@pytest.fixture
def desk(tmp_path: Path) -> ReviewDesk:
    made = studio(tmp_path)
    made.take_in("a", predicted(image(made), 1, "one"), actor="server", count=12)
    return made


def gap_of(desk: ReviewDesk) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The ends beside the stretch that the model misses on the vessel at y = 40."""
    drawn = desk.mask("a")[0].array[:, 40, 6] > 0
    missed = np.flatnonzero(~drawn[5:91]) + 5
    return (int(missed[0]) - 3, 40, 6), (int(missed[-1]) + 3, 40, 6)


def test_a_gap_is_joined_undone_redone_and_answered(desk: ReviewDesk, tmp_path: Path) -> None:
    drafts = Drafts(desk, tmp_path / "drafts")
    start, end = gap_of(desk)
    before = desk.mask("a")[0].array > 0
    draft = drafts.prompt("a", "ann", "connect", [start, end])
    assert (draft.undo, draft.redo, draft.step.name) == (1, 0, "connect")
    np.testing.assert_array_equal(draft.voxels, drafts.mask("a", "ann").array[slices_of(draft.step.box)] > 0)
    assert (drafts.mask("a", "ann").array[start[0] : end[0], 40, 6] > 0).all()
    assert (desk.mask("a")[0].array == before).all()  # a draft is nobody else's
    assert (drafts.mask("a", "bob").array == before).all()
    assert drafts.undo("a", "ann").redo == 1
    assert (drafts.mask("a", "ann").array == before).all()
    assert drafts.redo("a", "ann").undo == 1
    place = desk.store.places.next("ann", seconds=60)
    box = Region.of_json(place.region).box
    desk.answer(place.id, "fixed", actor="ann", corrected=drafts.inside("a", "ann", box))
    mask, locked = desk.mask("a")
    np.testing.assert_array_equal(mask.array[slices_of(box)], drafts.mask("a", "ann").array[slices_of(box)])
    assert locked[slices_of(box)].all()


def test_a_draft_survives_a_restart_and_a_new_model(desk: ReviewDesk, tmp_path: Path) -> None:
    drafts = Drafts(desk, tmp_path / "drafts")
    drafts.prompt("a", "ann", "connect", list(gap_of(desk)))
    stroke = np.zeros((6, 6, 2), bool)
    stroke[1:5, 1:5] = True
    drafts.draw("a", "ann", (40, 46, 70, 76, 2, 4), stroke)
    drafts.undo("a", "ann")
    again = Drafts(desk, tmp_path / "drafts")
    assert (again.steps("a", "ann").undo, again.steps("a", "ann").redo) == (1, 1)
    np.testing.assert_array_equal(again.mask("a", "ann").array, drafts.mask("a", "ann").array)
    again.redo("a", "ann")
    desk.take_in("a", predicted(image(desk), 3, "two"), actor="server", count=12)
    mask = again.mask("a", "ann").array > 0
    assert mask[40:46, 70:76, 2:4][1:5, 1:5].all()
    assert (mask != (desk.mask("a")[0].array > 0)).sum() >= 32
    again.discard("a", "ann")
    assert (again.mask("a", "ann").array == desk.mask("a")[0].array).all()


def test_what_cannot_be_done_is_refused_and_changes_nothing(desk: ReviewDesk, tmp_path: Path) -> None:
    drafts = Drafts(desk, tmp_path / "drafts")
    with pytest.raises(InputError, match="Allowed: path, connect"):
        drafts.prompt("a", "ann", "paint", [(1, 1, 1)])
    with pytest.raises(InputError, match=r"path needs 2 clicks\. Got 1"):
        drafts.prompt("a", "ann", "path", [(1, 1, 1)])
    with pytest.raises(InputError, match="lies in the volume"):
        drafts.prompt("a", "ann", "grow", [(1, 1, 99)])
    with pytest.raises(NotFoundError):
        drafts.prompt("nobody", "ann", "grow", [(1, 1, 1)])
    with pytest.raises(NotFoundError, match="no prediction"):
        drafts.prompt("b", "ann", "grow", [(1, 1, 1)])
    assert drafts.undo("a", "ann").step is None
    (tmp_path / "drafts" / "a" / "ann.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        Drafts(desk, tmp_path / "drafts").steps("a", "ann")


class Review(RuleBasedStateMachine):
    """Two people, one image, models that come and go."""

    points = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))

    @initialize()
    def start(self) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="minivess_drafts.")
        folder = Path(self.home.name)
        self.desk = studio(folder)
        self.drafts = Drafts(self.desk, folder / "drafts")
        self.folder, self.models = folder, 0
        self.answered: dict[str, tuple[int, ...]] = {}
        self.drawn: dict[str, np.ndarray] = {}
        self.retrain(1)

    @rule(seed=st.integers(0, 50))
    def retrain(self, seed: int) -> None:
        self.models += 1
        self.desk.take_in("a", predicted(image(self.desk), seed, f"model{self.models}"), actor="server", count=8)
        new = np.ones(SHAPE, bool)
        for box in self.answered.values():
            new[slices_of(box)] = False
        for place in self.desk.store.places.all("a", states=["pending", "leased"])[0]:
            assert new[Region.of_json(place.region).slices].mean() > 0.4

    @rule(
        tool=st.sampled_from(sorted(TOOLS)), points=st.lists(points, min_size=1, max_size=3), who=st.sampled_from(("ann", "bob"))
    )
    def prompt(self, tool: str, points: list[tuple[int, int, int]], who: str) -> None:
        try:
            self.drafts.prompt("a", who, tool, points)
        except InputError:
            return

    @rule(at=points, value=st.booleans(), who=st.sampled_from(("ann", "bob")))
    def draw(self, at: tuple[int, int, int], value: bool, who: str) -> None:
        low = [min(p, n - 3) for p, n in zip(at, SHAPE, strict=True)]
        box = (low[0], low[0] + 3, low[1], low[1] + 3, low[2], low[2] + 3)
        self.drafts.draw("a", who, box, np.full((3, 3, 3), value))

    @rule(who=st.sampled_from(("ann", "bob")), back=st.booleans())
    def undo(self, who: str, back: bool) -> None:
        (self.drafts.undo if back else self.drafts.redo)("a", who)

    @rule(who=st.sampled_from(("ann", "bob")), verdict=st.sampled_from(("accepted", "fixed", "skipped")))
    def answer(self, who: str, verdict: str) -> None:
        place = self.desk.store.places.next(who, seconds=60)
        if place is None:
            return
        assert place.id not in self.answered
        box = Region.of_json(place.region).box
        corrected = self.drafts.inside("a", who, box) if verdict == "fixed" else None
        try:
            self.desk.answer(place.id, verdict, actor=who, corrected=corrected)
        except ConflictError:
            return
        self.answered[place.id] = box
        if verdict != "skipped":
            self.drawn[place.id] = self.desk.mask("a")[0].array[slices_of(box)].copy()

    @rule()
    def restart(self) -> None:
        self.drafts = Drafts(self.desk, self.folder / "drafts")

    @invariant()
    def what_was_accepted_stays(self) -> None:
        expected, locked = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
        for name, held in self.drawn.items():  # in the order of the answers
            expected[slices_of(self.answered[name])] = held
            locked[slices_of(self.answered[name])] = True
        for mask in (self.desk.mask("a")[0], self.drafts.mask("a", "ann"), self.drafts.mask("a", "bob")):
            np.testing.assert_array_equal(mask.array[locked], expected[locked])

    def teardown(self) -> None:
        self.home.cleanup()


TestReview = Review.TestCase
TestReview.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
