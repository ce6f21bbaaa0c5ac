"""Segment one image on request."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cachetools import LRUCache
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from minivess.errors import InputError
from minivess.jobs import Job, current_job
from minivess.label_app.http_errors import http_errors
from minivess.label_app.settings import AppSettings
from minivess.label_app.studies import read_study_image
from minivess.models import BundleSegmenter, Prediction, Segmenter, load_bundle, pick_device, weights_path
from minivess.models.bundle import with_other_weights
from minivess.models.weights import FILE_NAME
from minivess.review.service import ReviewService
from minivess.store import current_actor
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Box, Volume, write_volume

_EXTENSIONS = (".nrrd", ".nii.gz", ".nii")
_DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
#: Key of a request under which the app states the id of an image of the store; clients cannot set it.
STORE_IMAGE_KEY = "minivess_image"
#: Name of the weights that the server has published, and trains: their file without its suffix.
PUBLISHED = Path(FILE_NAME).stem
#: Number of other weights that stay loaded.
_MOST_OTHERS = 4
#: Number of regions in an /infer answer; the rest is at GET /review/.
_LISTED_REGIONS = 10


class VesselInferTask(InferTask):
    """The bundle's segmenter as a MONAI Label model: one label, ``vessel``, on the image's own grid."""

    def __init__(self, bundle: Path, settings: AppSettings, review: ReviewService | None = None) -> None:
        """Offer a bundle.

        Args:
            bundle: Folder of the bundle; it may have no weights yet.
            settings: Settings of the app.
            review: The review whose queue is filled with each prediction.
        """
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={"vessel": 1},
            dimension=3,
            description="Vessel segmentation, trained on the labels of this server",
            config={"result_extension": list(_EXTENSIONS)},
        )
        self.bundle = bundle
        self.settings = settings
        self.review = review
        self._hidden = None if settings.use_pretrained_model else self._version()
        self._loaded: dict[str, tuple[int, Segmenter]] = {}
        self._others: LRUCache[tuple[str, str], tuple[tuple[int, int], Segmenter]] = LRUCache(_MOST_OTHERS)
        self._lock = threading.Lock()

    def is_valid(self) -> bool:
        """Return whether there are weights to use; without them ``/info/`` does not list the model."""
        version = self._version()
        return version != 0 and version != self._hidden

    def get_path(self, validate: bool = True) -> str | None:
        """Return the weights file; None when it does not exist and ``validate`` is set."""
        path = weights_path(self.bundle)
        return str(path) if path.is_file() or not validate else None

    def config(self) -> dict[str, Any]:
        """Return the choices that clients offer: formats, and the weights that lie beside the published ones."""
        return {**super().config(), "weights": list(self.weights())}

    def weights(self) -> dict[str, Path]:
        """Return the weights files of the bundle by name; the published ones, :data:`PUBLISHED`, come first."""
        published = weights_path(self.bundle)
        others = sorted(file for file in published.parent.glob("*.safetensors") if file != published)
        return {file.stem: file for file in (published, *others)}

    def segmenter(self, device: str | None, weights: str = PUBLISHED) -> Segmenter:
        """Return the model on a device; it is loaded again when new weights were published.

        Each has a network of its own, since a prediction may wait for a more urgent one; a frozen base is shared.

        Args:
            device: Name of the device.
            weights: One of :meth:`weights`.
        """
        published = self._published(device)
        if weights == PUBLISHED:
            return published
        with self._lock:
            file, key = self.weights().get(weights), (str(pick_device(device)), weights)
            if file is None or not file.is_file():
                raise InputError(f"The weights {weights} were removed. Allowed: {', '.join(self.weights())}.")
            version = (self._version(), file.stat().st_mtime_ns)
            loaded = self._others.get(key)
            if loaded is None or loaded[0] != version:
                loaded = self._others[key] = (version, with_other_weights(published, self.bundle, file))
            return loaded[1]

    def _published(self, device: str | None) -> Segmenter:
        with self._lock:
            name, version = str(pick_device(device)), self._version()
            loaded = self._loaded.get(name)
            if loaded is None or loaded[0] != version:
                self._loaded.pop(name, None)  # not two in memory while the new one is loaded
                for key in [key for key in self._others if key[0] == name]:
                    del self._others[key]  # they share its frozen base
                loaded = (version, load_bundle(self.bundle, device=name))
                if isinstance(loaded[1], BundleSegmenter):
                    loaded[1].cache_features(self.settings.model_dir / "features")
                self._loaded[name] = loaded
            return loaded[1]

    def predict(
        self, volume: Volume, *, job: Job, device: str | None = None, roi: Box | None = None, weights: str = PUBLISHED
    ) -> Prediction:
        """Segment a volume as soon as the device is free.

        Args:
            volume: The volume.
            job: Job whose progress is updated.
            device: Name of the device.
            roi: Only this box.
            weights: One of :meth:`weights`.
        """
        with job.hold_lock(str(pick_device(device))):
            return self.segmenter(device, weights).predict(volume, roi=roi, progress=job.progress)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment ``request["image"]``; unknown keys are ignored.

        Returns:
            A temporary file that MONAI Label deletes after its answer, and the ``params`` of the answer.

        Raises:
            HTTPException: When a value of the request is not allowed.
        """
        with http_errors():
            return self._segment(request)

    def _segment(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        extension, dtype = result_format(request)
        weights = _choice(request, "weights", tuple(self.weights()))
        job = current_job()
        with job.step("pre"):
            volume = read_study_image(Path(str(request["image"])), self.settings.unit)
        for key in ("foreground", "background"):
            check_points(request.get(key), key, volume)
        with job.step("infer"):
            prediction = self.predict(volume, job=job, device=_device(request), roi=_roi(request.get("roi")), weights=weights)
        with job.step("post"):
            mask = prediction.mask
            score = expected_errors_per_predicted_voxel(prediction.probability.array, prediction.threshold)
            regions = self._regions(request, prediction) if weights == PUBLISHED else {}
        with job.step("write"):
            path = self.write_result(mask, extension, dtype)
        seconds = {step.name: round(step.seconds, 3) for step in job.steps[-4:]}
        return str(path), {
            "label_names": self.labels,
            "latencies": {**seconds, "invert": 0.0, "total": round(sum(seconds.values()), 3), "transform": {}},
            "minivess": {
                "model": prediction.model.to_json(),
                "threshold": prediction.threshold,
                "expected_errors_per_predicted_voxel": score,
                "mean_uncertainty_nats": float(prediction.uncertainty.array.mean()),
                "vessel_voxels": int(mask.array.sum()),
                **regions,
            },
        }

    def write_result(self, mask: Volume, extension: str, dtype: str) -> Path:
        """Write a mask to a temporary file that MONAI Label deletes after its answer.

        Not in the system's temporary folder: a client on the same machine saves the answer there under the same name, and MONAI
        Label would delete the client's copy.

        Args:
            mask: The mask.
            extension: Suffix of the file.
            dtype: Data type of the voxels.
        """
        folder = self.settings.model_dir / "answers"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="minivess_", suffix=extension, dir=folder, delete=False) as file:
            path = Path(file.name)
        try:
            write_volume(mask.with_array(mask.array.astype(dtype)), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def enqueue_regions(self, image_id: str, prediction: Prediction, actor: str) -> None:
        """Build the queue of an image, unless it has one of the same model.

        Args:
            image_id: The image.
            prediction: Its prediction.
            actor: Who asked for it.
        """
        if self.review is not None:
            self.review.queue_builder.add_prediction(image_id, prediction, actor=actor)

    def _regions(self, request: Mapping[str, Any], prediction: Prediction) -> dict[str, Any]:
        """Return the first regions to review; only for an image of the store that was segmented completely."""
        image_id = request.get(STORE_IMAGE_KEY)
        if self.review is None or not image_id or request.get("roi"):
            return {}
        self.enqueue_regions(image_id, prediction, current_actor.get() or "server")
        items, count = self.review.store.queue.all(image_id, states=["pending", "leased"], limit=_LISTED_REGIONS)
        return {"places": [item.to_json() for item in items], "places_in_all": count, **self.review.advice(image_id)}

    def _version(self) -> int:
        path = weights_path(self.bundle)
        return path.stat().st_mtime_ns if path.is_file() else 0


def result_format(request: Mapping[str, Any]) -> tuple[str, str]:
    """Read the suffix and the data type of the result from a request.

    Raises:
        InputError: When one is unknown.
    """
    return _choice(request, "result_extension", _EXTENSIONS), _choice(request, "result_dtype", _DTYPES)


def _choice(request: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = request.get(key) or allowed[0]
    if isinstance(value, list):  # clients send the whole list when nothing was chosen
        value = value[0]
    if value not in allowed:
        raise InputError(f"{key} {value!r} is unknown. Allowed: {', '.join(allowed)}.")
    return str(value)


def _device(request: Mapping[str, Any]) -> str | None:
    device = request.get("device") or None
    return device[0] if isinstance(device, list) else device  # the whole list, when nothing was chosen


def _roi(value: Any) -> Box | None:
    """Read i-min, i-max, j-min, j-max, k-min, k-max; clients send an empty list for no box."""
    if not value:
        return None
    try:
        return Box.from_json(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"roi is six integers, i-min i-max j-min j-max k-min k-max. Got {str(value)[:80]!r}.") from error


def check_points(points: Any, key: str, volume: Volume) -> None:
    """Check that clicks are inside the image.

    Args:
        points: Clicks (i, j, k), or None.
        key: Their key in the request, for the message.
        volume: The image.

    Raises:
        InputError: When they are no list of three numbers each, or one is outside.
    """
    try:
        clicks = [[float(value) for value in point] for point in points or []]
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}: clicks are a list of [i, j, k]. Got {str(points)[:80]}.") from error
    for point in clicks:
        if len(point) != 3 or not all(0 <= p < n for p, n in zip(point, volume.shape, strict=True)):
            raise InputError(f"{key}: the point {point} is outside the image of {volume.shape} voxels (IJK, from 0).")
