"""The vessel prompts as stock clients know them: models of type ``deepgrow``, which take clicks and answer with a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from http_errors import as_http
from infer_task import OF_STORE, VesselInferTask, check_points, format_of
from minivess.errors import InputError, MinivessError
from minivess.jobs import current_job
from minivess.review.desk import ReviewDesk
from minivess.review.drafts import Drafts
from minivess.review.prompts import Point
from minivess.review.tools import TOOLS
from minivess.store import current_actor

#: Whose draft it is where nobody has a name: on MONAI Label's own server.
_NOBODY = "client"


class VesselPromptTask(InferTask):
    """One prompt. A stock client sends all its clicks each time, so that nothing is kept here: it has the answer."""

    def __init__(self, tool: str, segmenter: VesselInferTask, desk: ReviewDesk, drafts: Drafts) -> None:
        """Take the prompt's name, and what it works on."""
        super().__init__(
            type=InferType.DEEPGROW,
            labels={"vessel": 1},
            dimension=3,
            description=TOOLS[tool].words,
            config={"result_extension": [".nrrd", ".nii.gz", ".nii"]},
        )
        self.tool, self.segmenter, self.desk, self.drafts = tool, segmenter, desk, drafts

    def is_valid(self) -> bool:
        """Tell whether there is a model whose prediction is worked on."""
        return self.segmenter.is_valid()

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Draw what ``foreground`` clicks mean over what counts as vessel, and take away the branches at ``background`` ones.

        Returns:
            A temporary file that MONAI Label deletes after its answer, and the ``params`` of the answer.

        Raises:
            HTTPException: When the clicks mean nothing, or the image is not one of the studies.
        """
        try:
            return self._draw(request)
        except MinivessError as error:
            raise as_http(error) from error

    def _draw(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        extension, dtype = format_of(request)
        image_id = request.get(OF_STORE)
        if not image_id:
            raise InputError(f"{self.tool} works on an image of the studies. Got an upload or a session: add the image first.")
        self._predict_once(str(image_id))
        volume, person = self.desk.sights.get(image_id).image, current_actor.get() or _NOBODY
        clicks = {key: request.get(key) or [] for key in ("foreground", "background")}
        for key, points in clicks.items():
            check_points(points, key, volume)
        steps = []
        if len(clicks["foreground"]) >= TOOLS[self.tool].clicks:
            steps.append((self.tool, _as_points(clicks["foreground"])))
        steps += [("remove", [point]) for point in _as_points(clicks["background"])]
        job = current_job()
        with job.step("infer"):
            mask = self.drafts.preview(image_id, person, steps)
        path = self.segmenter.answer_file(mask, extension, dtype)
        seconds = round(job.steps[-1].seconds, 3)
        latencies = {"pre": 0.0, "infer": seconds, "invert": 0.0, "post": 0.0, "write": 0.0, "total": seconds, "transform": {}}
        return str(path), {"label_names": self.labels, "latencies": latencies, "minivess": {"tool": self.tool}}

    def _predict_once(self, image_id: str) -> None:
        image = self.desk.read(image_id)
        if not self.desk.kept.has(image_id, image, self.segmenter.segmenter(None).model):
            prediction = self.segmenter.predict(image, job=current_job())
            self.segmenter.ask_about(image_id, prediction, current_actor.get() or "server")


def _as_points(points: list[list[float]]) -> list[Point]:
    """Read clicks, IJK; some clients send them as numbers with a fraction."""
    return [(int(x), int(y), int(z)) for x, y, z in points]
