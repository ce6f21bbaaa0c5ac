"""Prompts, strokes, answers, undo and new models in any order: locked voxels stay, answered regions do not come back."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from review.example import SHAPE, make_prediction, make_service, read_image

from minivess import paths
from minivess.errors import ConflictError, InputError, NotFoundError, OutputError, StoreError
from minivess.models import ModelRef, Prediction, binary_entropy
from minivess.review.drafts import Drafts
from minivess.review.prediction_cache import PredictionCache
from minivess.review.prompts import MaskChange, Point, PromptContext
from minivess.review.service import ReviewService
from minivess.review.tools import TOOLS
from minivess.volume import Box, Volume, write_volume

#: Longest wait for another thread; reached only when a test fails.
DEADLINE_S = 30.0


@pytest.fixture
def service(tmp_path: Path) -> ReviewService:
    made = make_service(tmp_path)
    made.queue_builder.add_prediction("a", make_prediction(read_image(made), 1, "one"), actor="server", count=12)
    return made


def ends_of_gap(service: ReviewService) -> tuple[Point, Point]:
    """The ends beside the stretch that the model misses on the vessel at y = 40."""
    predicted = service.mask("a")[0].array[:, 40, 6] > 0
    missed = np.flatnonzero(~predicted[5:91]) + 5
    return (int(missed[0]) - 3, 40, 6), (int(missed[-1]) + 3, 40, 6)


def test_drafts__a_gap_is_connected_undone_redone_and_answered(service: ReviewService, tmp_path: Path) -> None:
    drafts = Drafts(service, tmp_path / "drafts")
    start, end = ends_of_gap(service)
    before = service.mask("a")[0].array > 0
    draft = drafts.prompt("a", "ann", "connect", [start, end])
    assert (draft.undo, draft.redo, draft.step.name) == (1, 0, "connect")
    np.testing.assert_array_equal(draft.voxels, drafts.mask("a", "ann").array[draft.step.box.slices] > 0)
    assert (drafts.mask("a", "ann").array[start[0] : end[0], 40, 6] > 0).all()
    assert (service.mask("a")[0].array == before).all()  # other users do not see a draft
    assert (drafts.mask("a", "bob").array == before).all()
    assert drafts.undo("a", "ann").redo == 1
    assert (drafts.mask("a", "ann").array == before).all()
    assert drafts.redo("a", "ann").undo == 1
    item = service.store.queue.next("ann", seconds=60)
    box = item.region.box
    service.answer(item.id, "fixed", actor="ann", corrected=drafts.corrected_in("a", "ann", box))
    mask, locked = service.mask("a")
    np.testing.assert_array_equal(mask.array[box.slices], drafts.mask("a", "ann").array[box.slices])
    assert locked[box.slices].all()


def test_drafts__survive_a_restart_and_a_new_model(service: ReviewService, tmp_path: Path) -> None:
    drafts = Drafts(service, tmp_path / "drafts")
    drafts.prompt("a", "ann", "connect", list(ends_of_gap(service)))
    stroke = np.zeros((6, 6, 2), bool)
    stroke[1:5, 1:5] = True
    drafts.draw("a", "ann", Box(40, 46, 70, 76, 2, 4), stroke)
    drafts.undo("a", "ann")
    again = Drafts(service, tmp_path / "drafts")
    assert (again.state("a", "ann").undo, again.state("a", "ann").redo) == (1, 1)
    np.testing.assert_array_equal(again.mask("a", "ann").array, drafts.mask("a", "ann").array)
    again.redo("a", "ann")
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 3, "two"), actor="server", count=12)
    mask = again.mask("a", "ann").array > 0
    assert mask[40:46, 70:76, 2:4][1:5, 1:5].all()
    assert (mask != (service.mask("a")[0].array > 0)).sum() >= 32
    again.discard("a", "ann")
    assert (again.mask("a", "ann").array == service.mask("a")[0].array).all()


def test_drafts__refuse_what_cannot_be_done_and_change_nothing(service: ReviewService, tmp_path: Path) -> None:
    drafts = Drafts(service, tmp_path / "drafts")
    with pytest.raises(InputError, match="Allowed: path, connect"):
        drafts.prompt("a", "ann", "paint", [(1, 1, 1)])
    with pytest.raises(InputError, match=r"path needs 2 clicks\. Got 1"):
        drafts.prompt("a", "ann", "path", [(1, 1, 1)])
    with pytest.raises(InputError, match="must be inside the volume"):
        drafts.prompt("a", "ann", "grow", [(1, 1, 99)])
    with pytest.raises(InputError, match="must be inside the mask"):
        drafts.draw("a", "ann", Box(0, 2, 0, 2, 11, 13), np.ones((2, 2, 2), bool))
    with pytest.raises(NotFoundError):
        drafts.prompt("nobody", "ann", "grow", [(1, 1, 1)])
    with pytest.raises(NotFoundError, match="no prediction"):
        drafts.prompt("b", "ann", "grow", [(1, 1, 1)])
    assert drafts.undo("a", "ann").step is None
    (tmp_path / "drafts" / "a" / "ann.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        Drafts(service, tmp_path / "drafts").state("a", "ann")


def test_corrected_in__is_the_mask_of_the_user_where_the_draft_has_changed_it(service: ReviewService, tmp_path: Path) -> None:
    drafts, box = Drafts(service, tmp_path / "drafts"), Box(30, 50, 30, 50, 2, 10)
    drafts.draw("a", "ann", Box(40, 46, 48, 52, 2, 4), np.ones((6, 4, 2), bool))
    corrected = drafts.corrected_in("a", "ann", box)
    np.testing.assert_array_equal(corrected, drafts.mask("a", "ann").array[box.slices] > 0)
    assert (corrected != (service.mask("a")[0].array[box.slices] > 0)).sum() == 6 * 2 * 2
    with pytest.raises(InputError, match="changes nothing in this region"):
        drafts.corrected_in("a", "ann", Box(0, 8, 0, 8, 0, 2))
    with pytest.raises(InputError, match="changes nothing in this region"):
        drafts.corrected_in("a", "bob", box)


def test_preview__leaves_the_draft_as_it_is(service: ReviewService, tmp_path: Path) -> None:
    drafts, (start, end) = Drafts(service, tmp_path / "drafts"), ends_of_gap(service)
    before = drafts.mask("a", "ann").array
    preview = drafts.preview("a", "ann", [("connect", [start, end])]).array
    assert (preview[start[0] : end[0], 40, 6] == 1).all()
    np.testing.assert_array_equal(drafts.mask("a", "ann").array, before)
    assert drafts.state("a", "ann").undo == 0
    drafts.prompt("a", "ann", "connect", [start, end])
    np.testing.assert_array_equal(drafts.mask("a", "ann").array, preview)


def test_drafts__a_step_that_cannot_be_saved_is_not_done(
    service: ReviewService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = Drafts(service, tmp_path / "drafts")
    drafts.draw("a", "ann", Box(0, 2, 0, 2, 0, 2), np.ones((2, 2, 2), bool))
    before = drafts.mask("a", "ann").array

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(paths, "fsync_file", full)
        with pytest.raises(OutputError, match="No space left"):
            drafts.draw("a", "ann", Box(4, 6, 0, 2, 0, 2), np.ones((2, 2, 2), bool))
    np.testing.assert_array_equal(drafts.mask("a", "ann").array, before)
    assert drafts.state("a", "ann").undo == 1


@pytest.mark.parametrize(("image_id", "user"), [("a", "bob"), ("b", "ann")])
def test_drafts__a_slow_prompt_does_not_block_other_users_or_images(
    service: ReviewService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_id: str, user: str
) -> None:
    service.queue_builder.add_prediction("b", make_prediction(read_image(service, "b"), 1, "one"), actor="server", count=1)
    drafts, box = Drafts(service, tmp_path / "drafts"), Box(40, 46, 70, 76, 2, 4)
    drafts.draw(image_id, user, box, np.ones(box.shape, bool))
    started, finish = Event(), Event()

    def slow(context: PromptContext, points: Sequence[Point], box: Box | None) -> list[MaskChange]:
        started.set()
        assert finish.wait(DEADLINE_S)
        return [MaskChange(np.ones((2, 2, 2), bool), points[0])]

    monkeypatch.setitem(TOOLS, "grow", replace(TOOLS["grow"], run=slow))
    with ThreadPoolExecutor() as pool:
        try:
            prompt = pool.submit(drafts.prompt, "a", "ann", "grow", [(60, 26, 2)])
            assert started.wait(DEADLINE_S)
            own = pool.submit(drafts.undo, "a", "ann")  # waits for the prompt: there is nothing to undo before it
            for _ in range(10):
                undone = pool.submit(drafts.undo, image_id, user).result(DEADLINE_S)
                assert (undone.undo, undone.redo, undone.step.voxels) == (0, 1, 72)
                assert pool.submit(drafts.redo, image_id, user).result(DEADLINE_S).undo == 1
            assert not prompt.done()
            assert not own.done()
        finally:
            finish.set()
        assert prompt.result(DEADLINE_S).step.voxels == 8
        assert own.result(DEADLINE_S).step == prompt.result().step
    assert drafts.mask(image_id, user).array[box.slices].all()
    assert not drafts.mask("a", "ann").array[60:62, 26:28, 2:4].any()


class Review(RuleBasedStateMachine):
    """Two users, one image, models that come and go."""

    points = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
    users = st.sampled_from(("ann", "bob"))

    @initialize()
    def start(self) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="minivess_drafts.")
        self.folder = Path(self.home.name)
        self.service = make_service(self.folder)
        self.drafts = Drafts(self.service, self.folder / "drafts")
        self.models = 0
        self.answered: dict[str, Box] = {}
        self.accepted: dict[str, np.ndarray] = {}
        self.retrain(1)

    @rule(seed=st.integers(0, 50))
    def retrain(self, seed: int) -> None:
        self.models += 1
        prediction = make_prediction(read_image(self.service), seed, f"model{self.models}")
        self.service.queue_builder.add_prediction("a", prediction, actor="server", count=8)
        new = np.ones(SHAPE, bool)
        for item in self.service.store.queue.answered("a"):
            if item.state != "skipped":  # what was skipped with an older model is asked again
                new[item.region.box.slices] = False
        for item in self.service.store.queue.all("a", states=["pending", "leased"])[0]:
            assert new[item.region.box.slices].mean() > 0.4

    @rule(tool=st.sampled_from(sorted(TOOLS)), points=st.lists(points, min_size=1, max_size=3), user=users)
    def prompt(self, tool: str, points: list[Point], user: str) -> None:
        try:
            self.drafts.prompt("a", user, tool, points)
        except InputError:
            return

    @rule(at=points, value=st.booleans(), user=users)
    def draw(self, at: Point, value: bool, user: str) -> None:
        low = [min(p, n - 3) for p, n in zip(at, SHAPE, strict=True)]
        self.drafts.draw("a", user, Box.from_corners(low, np.add(low, 3)), np.full((3, 3, 3), value))

    @rule(user=users, back=st.booleans())
    def undo(self, user: str, back: bool) -> None:
        (self.drafts.undo if back else self.drafts.redo)("a", user)

    @rule(user=users, verdict=st.sampled_from(("accepted", "fixed", "skipped")))
    def answer(self, user: str, verdict: str) -> None:
        item = self.service.store.queue.next(user, seconds=60)
        if item is None:
            return
        assert item.id not in self.answered
        box = item.region.box
        corrected = self.drafts.mask("a", user).array[box.slices] > 0 if verdict == "fixed" else None
        try:
            self.service.answer(item.id, verdict, actor=user, corrected=corrected)
        except ConflictError:
            return
        self.answered[item.id] = box
        if verdict != "skipped":
            self.accepted[item.id] = self.service.mask("a")[0].array[box.slices].copy()

    @rule()
    def restart(self) -> None:
        self.drafts = Drafts(self.service, self.folder / "drafts")

    @invariant()
    def accepted_voxels_stay(self) -> None:
        expected, locked = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)
        for item_id, voxels in self.accepted.items():  # in the order of the answers
            expected[self.answered[item_id].slices] = voxels
            locked[self.answered[item_id].slices] = True
        for mask in (self.service.mask("a")[0], self.drafts.mask("a", "ann"), self.drafts.mask("a", "bob")):
            np.testing.assert_array_equal(mask.array[locked], expected[locked])

    def teardown(self) -> None:
        self.home.cleanup()


TestReview = Review.TestCase
TestReview.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_drafts__of_an_image_that_was_replaced_by_a_smaller_one_say_so(service: ReviewService, tmp_path: Path) -> None:
    drafts = Drafts(service, tmp_path / "drafts")
    drafts.draw("a", "ann", Box(80, 90, 60, 70, 4, 10), np.ones((10, 10, 6), bool))
    image = read_image(service)
    smaller = Volume(np.ascontiguousarray(image.array[:60, :50, :8]), image.affine, "um")
    write_volume(smaller, service.store.images.get("a").image)
    probability = smaller.with_array(np.full(smaller.shape, 0.1, np.float32))
    prediction = Prediction(probability, smaller.with_array(binary_entropy(probability.array)), ModelRef("made", "0", "two"), 0.5)
    service.queue_builder.add_prediction("a", prediction, actor="server", count=12)
    with pytest.raises(ConflictError, match="replaced by a smaller image"):
        drafts.state("a", "ann")
    drafts.discard("a", "ann")
    assert drafts.state("a", "ann").undo == 0


def test_a_damaged_prediction_is_as_good_as_none_and_is_replaced(service: ReviewService, tmp_path: Path) -> None:
    file = tmp_path / "work" / "predictions" / "a.npz"
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    for damaged in (file.read_bytes()[:500], b"", b"no archive", stream.getvalue()):
        file.write_bytes(damaged)
        cache = PredictionCache(file.parent)
        assert (cache.weights_sha256("a"), cache.quality("a"), cache.has_mask_before("a")) == ("", "", False)
        with pytest.raises(NotFoundError, match="Run the model"):
            cache.get("a", read_image(service))
    service.queue_builder.add_prediction("a", make_prediction(read_image(service), 1, "two"), actor="server", count=12)
    assert PredictionCache(file.parent).weights_sha256("a") == "two"
