"""Segment one image on request."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from http_errors import as_http
from minivess.dicom import read_series
from minivess.errors import InputError, MinivessError
from minivess.jobs import Job, current_job
from minivess.models import BundleSegmenter, Prediction, Roi, load_bundle, pick_device, weights_path
from minivess.review.desk import ReviewDesk
from minivess.store import current_actor
from minivess.uncertainty import expected_errors_per_predicted_voxel
from minivess.volume import Volume, read_volume, write_volume
from settings import AppSettings

_EXTENSIONS = (".nrrd", ".nii.gz", ".nii")
#: Under this key of a request the app itself says which image of the store is meant.
OF_STORE = "minivess_image"
#: So many places are told of with a prediction; the others are had at /review/.
_TOLD = 10
_DTYPES = ("uint8", "uint16", "int16", "int32", "float32")


class VesselInferTask(InferTask):
    """The bundle's segmenter as MONAI Label knows it: one label, ``vessel``, in the image's own geometry."""

    def __init__(self, bundle: Path, settings: AppSettings) -> None:
        """Take the trained bundle; it may have no weights yet."""
        super().__init__(
            type=InferType.SEGMENTATION,
            labels={"vessel": 1},
            dimension=3,
            description="SegResNet for blood vessels, trained on this server's labels",
            config={"result_extension": list(_EXTENSIONS)},
        )
        self.bundle = bundle
        self.settings = settings
        self.desk: ReviewDesk | None = None  # the app sets it once it has a store
        self._hidden = None if settings.use_pretrained_model else self._stamp()
        self._loaded: dict[str, tuple[int, BundleSegmenter]] = {}
        self._lock = threading.Lock()

    def is_valid(self) -> bool:
        """Tell whether there are weights to use; without them the model does not show in ``/info/``."""
        stamp = self._stamp()
        return stamp != 0 and stamp != self._hidden

    def get_path(self, validate: bool = True) -> str | None:
        """Give the weights' file."""
        path = weights_path(self.bundle)
        return str(path) if path.is_file() or not validate else None

    def segmenter(self, device: str | None) -> BundleSegmenter:
        """Give the model on a device, one on each; it is loaded again when new weights were published."""
        with self._lock:
            place, stamp = str(pick_device(device)), self._stamp()
            held = self._loaded.get(place)
            if held is None or held[0] != stamp:
                self._loaded.pop(place, None)  # not two in memory while the new one is read
                held = (stamp, load_bundle(self.bundle, device=place))
                self._loaded[place] = held
            return held[1]

    def predict(self, volume: Volume, *, job: Job, device: str | None = None, roi: Roi | None = None) -> Prediction:
        """Segment a volume when the device is free, telling a job how far it is."""
        with job.turn(str(pick_device(device))):
            return self.segmenter(device).predict(volume, roi=roi, progress=job.progress)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment ``request["image"]``; keys that this model does not know are ignored.

        Returns:
            A temporary file that MONAI Label deletes after its answer, and the ``params`` of the answer.

        Raises:
            HTTPException: When a value is not one that is allowed; MONAI Label would else answer a bare 500.
        """
        try:
            return self._segment(request)
        except MinivessError as error:
            raise as_http(error) from error

    def _segment(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        extension, dtype = format_of(request)
        job = current_job()
        with job.step("pre"):
            volume = read_image(Path(str(request["image"])), self.settings)
        for key in ("foreground", "background"):
            check_points(request.get(key), key, volume)
        with job.step("infer"):
            prediction = self.predict(volume, job=job, device=_device(request), roi=_roi(request.get("roi")))
        with job.step("post"):
            mask = prediction.mask
            score = expected_errors_per_predicted_voxel(prediction.probability.array, prediction.threshold)
            places = self._places(request, prediction)
        with job.step("write"):
            path = self.answer_file(mask, extension, dtype)
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
                **places,
            },
        }

    def answer_file(self, mask: Volume, extension: str, dtype: str) -> Path:
        """Write a mask to a temporary file that MONAI Label deletes after its answer.

        Not in the system's temporary folder: a client on this machine saves the answer there under the same name, and MONAI
        Label's clean-up would take the client's copy away.
        """
        answers = self.settings.model_dir / "answers"
        answers.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix="minivess_", suffix=extension, dir=answers, delete=False) as file:
            path = Path(file.name)
        try:
            write_volume(mask.with_array(mask.array.astype(dtype)), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def ask_about(self, image_id: str, prediction: Prediction, actor: str) -> None:
        """Put the places of an image in the queue, unless those of this model are there already."""
        if self.desk is not None:
            self.desk.take_in(image_id, prediction, actor=actor)

    def _places(self, request: Mapping[str, Any], prediction: Prediction) -> dict[str, Any]:
        """Tell which places to look at first; only of an image of the store, segmented whole."""
        image_id = request.get(OF_STORE)
        if self.desk is None or not image_id or request.get("roi"):
            return {}
        self.ask_about(image_id, prediction, current_actor.get() or "server")
        found, count = self.desk.store.places.all(image_id, states=["pending", "leased"], limit=_TOLD)
        return {"places": [place.to_json() for place in found], "places_in_all": count, **self.desk.advice(image_id)}

    def _stamp(self) -> int:
        path = weights_path(self.bundle)
        return path.stat().st_mtime_ns if path.is_file() else 0


def read_image(path: Path, settings: AppSettings) -> Volume:
    """Read an image of the studies: a volume, or a folder that holds a DICOM series."""
    if path.is_dir() and any(f.suffix.lower() in (".dcm", "") for f in path.iterdir()):
        return read_series(path).volume
    return read_volume(path, unit=settings.unit)


def format_of(request: Mapping[str, Any]) -> tuple[str, str]:
    """Read which suffix and dtype the answer is to have."""
    return _choice(request, "result_extension", _EXTENSIONS), _choice(request, "result_dtype", _DTYPES)


def _choice(request: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = request.get(key) or allowed[0]
    if isinstance(value, list):  # clients send the whole list where nobody chose
        value = value[0]
    if value not in allowed:
        raise InputError(f"{key} {value!r} is not known. Allowed: {', '.join(allowed)}.")
    return str(value)


def _device(request: Mapping[str, Any]) -> str | None:
    named = request.get("device") or None
    return named[0] if isinstance(named, list) else named  # the whole list, where nobody chose


def _roi(value: Any) -> Roi | None:
    """Read i-min, i-max, j-min, j-max, k-min, k-max; clients send an empty list for no box."""
    if not value:
        return None
    try:
        numbers = [int(v) for v in value]
    except (TypeError, ValueError) as error:
        raise InputError(f"roi is six integers, i-min i-max j-min j-max k-min k-max. Got {value!r}.") from error
    if len(numbers) != 6:
        raise InputError(f"roi is six integers, i-min i-max j-min j-max k-min k-max. Got {len(numbers)}.")
    a, b, c, d, e, f = numbers
    return a, b, c, d, e, f


def check_points(points: Any, key: str, volume: Volume) -> None:
    """Refuse clicks outside the image, which would otherwise be lost without a word."""
    for point in points or []:
        if len(point) != 3 or not all(0 <= float(p) < n for p, n in zip(point, volume.shape, strict=True)):
            raise InputError(f"{key}: the point {point} lies outside the image of {volume.shape} voxels (IJK, from 0).")
