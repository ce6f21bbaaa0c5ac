"""The vessel prompts as models of type ``deepgrow``, which stock clients send clicks to and which return a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from minivess.errors import InputError
from minivess.jobs import current_job
from minivess.label_app.http_errors import http_errors
from minivess.label_app.infer_task import STORE_IMAGE_KEY, VesselInferTask, check_points, result_format
from minivess.review.drafts import Drafts
from minivess.review.prompts import Point
from minivess.review.service import ReviewService
from minivess.review.tools import TOOLS
from minivess.store import current_actor

#: Whose draft is used where users have no names: on MONAI Label's own server.
_ANONYMOUS = "client"


class VesselPromptTask(InferTask):
    """One prompt. A stock client sends all its clicks each time, so nothing is saved here."""

    def __init__(self, tool: str, segmenter: VesselInferTask, review: ReviewService, drafts: Drafts) -> None:
        """Offer a prompt.

        Args:
            tool: Key of :data:`minivess.review.tools.TOOLS`.
            segmenter: The model whose prediction is changed.
            review: The review with the current masks.
            drafts: The drafts of the users.
        """
        super().__init__(
            type=InferType.DEEPGROW,
            labels={"vessel": 1},
            dimension=3,
            description=TOOLS[tool].description,
            config={"result_extension": [".nrrd", ".nii.gz", ".nii"]},
        )
        self.tool, self.segmenter, self.review, self.drafts = tool, segmenter, review, drafts

    def is_valid(self) -> bool:
        """Return whether there is a model whose prediction can be changed."""
        return self.segmenter.is_valid()

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Apply ``foreground`` clicks to the current mask, and remove the branches at ``background`` clicks.

        Of a tool that asks a model, ``background`` clicks are for the model; boxes have none.

        Returns:
            A temporary file that MONAI Label deletes after its answer, and the ``params`` of the answer.

        Raises:
            HTTPException: When the tool finds no vessel at a click, or the image is not one of the studies.
        """
        with http_errors():
            return self._run(request)

    def _run(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        extension, dtype = result_format(request)
        image_id = request.get(STORE_IMAGE_KEY)
        if not image_id:
            raise InputError(f"{self.tool} needs an image of the studies. Got an upload or a session: add the image first.")
        self._predict_once(str(image_id))
        volume, user = self.review.contexts.get(image_id).image, current_actor.get() or _ANONYMOUS
        clicks = {key: request.get(key) or [] for key in ("foreground", "background")}
        for key, points in clicks.items():
            check_points(points, key, volume)
        foreground, background = (_as_points(clicks[key]) for key in ("foreground", "background"))
        prompts = []
        if len(foreground) >= TOOLS[self.tool].clicks:
            prompts.append((self.tool, foreground))
        if TOOLS[self.tool].asks is None:
            prompts += [("remove", [point]) for point in background]
        job = current_job()
        with job.step("infer"):
            mask = self.drafts.preview(image_id, user, prompts, not_points=background)
        path = self.segmenter.write_result(mask, extension, dtype)
        seconds = round(job.steps[-1].seconds, 3)
        latencies = {"pre": 0.0, "infer": seconds, "invert": 0.0, "post": 0.0, "write": 0.0, "total": seconds, "transform": {}}
        return str(path), {"label_names": self.labels, "latencies": latencies, "minivess": {"tool": self.tool}}

    def _predict_once(self, image_id: str) -> None:
        image = self.review.read(image_id)
        if not self.review.predictions.is_current(image_id, image, self.segmenter.segmenter(None).model):
            prediction = self.segmenter.predict(image, job=current_job())
            self.segmenter.enqueue_regions(image_id, prediction, current_actor.get() or "server")


def _as_points(points: list[list[float]]) -> list[Point]:
    """Read clicks, IJK; some clients send them as floats."""
    return [(int(x), int(y), int(z)) for x, y, z in points]
