"""MONAI Label's application class: which models, trainings, strategies and scores there are, and where images and labels are."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from monailabel.config import settings as monai_settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

import minivess
from minivess.dicom.web import DicomWeb
from minivess.errors import BundleError, BusyError, InputError, UsageError, check_known
from minivess.jobs import Job, Jobs, Urgency
from minivess.label_app.batch_infer import segment_all
from minivess.label_app.datastore import LEASE_S, StoreDatastore, actor_of
from minivess.label_app.dicomweb_datastore import DicomWebDatastore
from minivess.label_app.http_errors import as_http, http_errors
from minivess.label_app.infer_task import STORE_IMAGE_KEY, VesselInferTask
from minivess.label_app.prompt_model import PromptModel
from minivess.label_app.prompt_task import VesselPromptTask
from minivess.label_app.scores import DiceScoring, ScoreFile, SumScoring, UncertaintyScoring
from minivess.label_app.settings import AppSettings
from minivess.label_app.strategies import BY_SCORE, RandomStrategy, ScoreStrategy
from minivess.label_app.studies import read_study_image
from minivess.label_app.train_task import VesselTrainTask
from minivess.label_app.training_cases import open_regions
from minivess.label_app.upload_sessions import UploadSessions
from minivess.models import Prediction, accepted_prompts, weights_path
from minivess.models.bundle_check import read_config
from minivess.paths import known_sha256
from minivess.process_lock import ProcessLock
from minivess.review.drafts import Drafts
from minivess.review.service import ReviewService
from minivess.server_lock import lock_for_server
from minivess.store import FINAL, ORIGINAL, LabelStore, current_actor
from minivess.store.monai_label import import_once
from minivess.train import can_train
from minivess.uncertainty.calibration import read_zones
from minivess.uncertainty.quality import quality_of
from minivess.volume import Volume

_logger = logging.getLogger(__name__)


class VesselApp(MONAILabelApp):
    """Vessel segmentation with active learning: one bundle, trained on what its annotators submit."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        """Read the settings.

        Args:
            app_dir: Folder of the app.
            studies: Folder of the studies, or address of a DICOMweb server.
            conf: Settings of ``--conf``, see :class:`AppSettings`.

        Raises:
            InputError: When a setting is wrong.
        """
        self.settings = AppSettings.from_conf(app_dir, conf or {})
        self.bundle = self.settings.prepare_bundle()
        self.scores = ScoreFile(self.settings.model_dir / "scores.json")
        self._server_locks: list[ProcessLock] = []
        self.jobs: Jobs | None = None  # set by our own server; MONAI Label's starts processes
        super().__init__(
            app_dir,
            studies,
            conf or {},
            name="MinIVess",
            description="Vessel segmentation with uncertainty-ranked proofreading",
            version=minivess.__version__,
            labels=["vessel"],
        )

    def init_datastore(self) -> StoreDatastore:
        """Open the label store; labels of MONAI Label in the studies are imported once."""
        if self.studies.startswith(("http://", "https://")):
            user, password = monai_settings.MONAI_LABEL_DICOMWEB_USERNAME, monai_settings.MONAI_LABEL_DICOMWEB_PASSWORD
            web = DicomWeb(self.studies, user=user or "", password=password or "")
            cache = self.settings.model_dir.parent / "studies"
            cache.mkdir(parents=True, exist_ok=True)
            return DicomWebDatastore(LabelStore(cache, root=self.settings.store_dir, labels={"vessel": 1}), web)
        store = LabelStore(Path(self.studies), root=self.settings.store_dir, labels={"vessel": 1}, unit=self.settings.unit)
        datastore = StoreDatastore(store)
        import_once(store)
        return datastore

    def server_mode(self, mode: bool) -> None:
        """Set whether the app runs in a server; then no other server may use the same store or the same workspace.

        Args:
            mode: Whether it does.

        Raises:
            ConflictError: When another server uses one of them.
        """
        if mode and not self._server_locks:
            folders = (self.datastore().store.root, self.settings.model_dir)
            self._server_locks = [lock_for_server(folder) for folder in folders]
        super().server_mode(mode)

    def _load_sessions(self, load: bool = False) -> UploadSessions | None:
        if not load:
            return None
        stated = monai_settings.MONAI_LABEL_SESSION_PATH  # MONAI Label's default is one folder for all servers of a user
        folder = stated or str(self.settings.model_dir / "sessions")
        return UploadSessions(folder, monai_settings.MONAI_LABEL_SESSION_EXPIRY)

    def init_infers(self) -> dict[str, InferTask]:
        """Return the segmenter, and the prompts that change its prediction."""
        task = VesselInferTask(self.bundle, self.settings, self.review)
        if self.settings.preload and task.is_valid():
            task.segmenter(None)
        self._segmenter = task
        prompts = {f"vessel_{tool}": VesselPromptTask(tool, task, self.review, self.drafts) for tool in self.drafts.tools}
        return {self.settings.model_name: task, **prompts}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Return its training."""
        if self.settings.skip_trainers or not can_train(self.bundle):
            return {}
        return {self.settings.model_name: VesselTrainTask(self.bundle, self.settings, self.review)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Return the strategies that choose the next image."""
        strategies: dict[str, Strategy] = {"random": RandomStrategy()}
        if not self.settings.skip_strategies:
            strategies |= {name: ScoreStrategy(name, self.bundle, self.scores) for name in BY_SCORE}
        return strategies

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Return the scores of images and labels."""
        if self.settings.skip_scoring:
            return {}
        methods: dict[str, ScoringMethod] = {"dice": DiceScoring(self.scores, self.settings), "sum": SumScoring()}
        if self.settings.epistemic_enabled:
            methods["uncertainty"] = UncertaintyScoring(self._segmenter, self.scores, self.settings)
        return methods

    def init_batch_infer(self) -> Callable[..., Any]:
        """Return the function that segments many images."""
        return segment_all

    def on_init_complete(self) -> None:
        """Start what only a server does."""
        self.datastore().start()
        super().on_init_complete()

    @property
    def models(self) -> Mapping[str, Any]:
        """Model name -> inference task."""
        return dict(self._infers)

    @property
    def trainers(self) -> Mapping[str, Any]:
        """Model name -> training task."""
        return dict(self._trainers)

    @property
    def scores_after_training(self) -> bool:
        """Whether images are scored again after each training."""
        return bool(self._auto_update_scoring)

    @cached_property
    def review(self) -> ReviewService:
        """The review of the studies."""

        def read(image_id: str) -> Volume:
            return read_study_image(Path(self.datastore().get_image_uri(image_id)), self.settings.unit)

        modality = str(read_config(self.bundle / "configs" / "inference.yaml")["modality"])
        return ReviewService(
            self.datastore().store,
            self.settings.model_dir / "review",
            read,
            modality=modality,
            zones_of=lambda weights: read_zones(self.bundle, weights),
            quality_of=self._quality_of,
            published=self._published_sha256,
        )

    def _published_sha256(self) -> str:
        """Return the SHA-256 of the published weights; empty when there are none."""
        file = weights_path(self.bundle)
        return known_sha256(file) if file.is_file() else ""

    def _quality_of(self, prediction: Prediction) -> str:
        try:
            return str(quality_of(self.bundle, prediction) or "")
        except BundleError as error:  # a mask without its quality is better than none
            _logger.warning("No expected quality: %s", error)
            return ""

    @cached_property
    def drafts(self) -> Drafts:
        """The drafts of the users."""
        return Drafts(self.review, self.settings.model_dir / "drafts", self._prompt_model())

    def _prompt_model(self) -> PromptModel | None:
        """Return the model that clicks and boxes are for: the prompt bundle's, else the one that segments if it takes prompts."""
        beside = self.settings.prompt_bundle
        task = self._segmenter if beside is None else VesselInferTask(beside, self.settings)
        kinds = accepted_prompts(beside or self.bundle)
        return PromptModel(kinds, lambda: task.segmenter(None)) if kinds else None

    def unreadable(self) -> dict[str, str]:
        """Return image id -> why it could not be read, of the images that were tried in the background."""
        return {image: str(row["error"]) for image, row in self.scores.read("uncertainty").items() if "error" in row}

    def info(self) -> dict[str, Any]:
        """Return MONAI Label's description of the app, and the images with the highest scores under ``minivess``."""
        images = self.datastore().list_images()
        about = {"cases": self.scores.highest(set(images)), "skipped": self.datastore().store.images.skipped}
        return {**super().info(), "minivess": about}

    def infer(self, request: dict[str, Any], datastore: StoreDatastore | None = None) -> dict[str, Any]:
        """Segment an image.

        Args:
            request: ``model``, ``image`` (an id, or a file of an upload or a session), ``save_label``, ``label_tag`` and what the
                model takes.
            datastore: Where the image is; that of the app by default.
        """
        _check_known("model", request.get("model"), self._infers)
        if request.get("save_label") and request.get("label_tag", ORIGINAL) == FINAL:
            raise as_http(
                InputError(
                    f"A prediction is not a {FINAL} label: a person submits that. Leave out label_tag, or use another tag."
                )
            )
        store, request = datastore or self.datastore(), copy.deepcopy(request)
        image_id = str(request["image"])
        in_store = "/" not in image_id  # otherwise a file; MONAI Label would take a name for a file in its working folder
        request.pop(STORE_IMAGE_KEY, None)
        if in_store:
            request["image"], request[STORE_IMAGE_KEY] = store.get_image_uri(image_id), image_id
        file, params = self._infers[request["model"]](request)
        tag = request.get("label_tag") or ORIGINAL
        if in_store and request.get("save_label"):
            try:
                label = store.save_label(image_id, file, tag, {"model": request["model"], "params": params})
            except BaseException:
                Path(file).unlink(missing_ok=True)
                raise
            return {"label": label, "tag": tag, "file": file, "params": params}
        return {"label": file, "tag": ORIGINAL, "file": file, "params": params}

    def async_scoring(self, method: str | None, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Score in the background; MONAI Label calls this after each sample, and only methods with work to do are started.

        Args:
            method: Name of the method; None for all.
            params: Parameters of the method.
        """
        if method:
            _check_known("scoring method", method, self._scoring_methods)
            return self._score_in_background(method, params)
        due = [name for name, task in self._scoring_methods.items() if task.is_due(self.datastore())]
        return {name: self._score_in_background(name, params) for name in due}

    def _score_in_background(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        if self.jobs is None:  # MONAI Label's own server starts a process; None when that server has refused
            started: dict[str, Any] | None = super().async_scoring(method, params)
            return started or {}
        if any(job.subject == method for job in self.jobs.open("scoring")):
            return {}
        try:
            return self.score_as_job(method, params or {}).to_json()
        except BusyError:
            return {}

    def score_as_job(self, method: str, params: dict[str, Any]) -> Job:
        """Start a scoring in this process, with the model that answers clicks; clicks go first.

        Args:
            method: Name of the method.
            params: Its parameters.

        Raises:
            UsageError: When the app runs in MONAI Label's own server.
        """
        if self.jobs is None:
            raise UsageError("Jobs need our own server: minivess serve.")
        _check_known("scoring method", method, self._scoring_methods)
        request = {"method": method, **params}
        actor = current_actor.get() or str(params.get("client_id") or "server")
        job = Job.from_request("scoring", method, request, urgency=Urgency.BATCH, actor=actor)

        def work() -> dict[str, Any]:
            with job.hold_lock("scoring"):  # one at a time: the file of scores has one writer
                return {"images": len(self.scoring(request))}

        return self.jobs.start(job, work)

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """Choose an image and reserve it for the user, so that two annotators never get the same one."""
        _check_known("strategy", request.get("strategy") or "random", self._strategies)
        holder = actor_of(request)
        token = current_actor.set(holder)
        try:
            while True:
                chosen: dict[str, Any] = super().next_sample(request)
                if not chosen or self.datastore().store.leases.take(chosen["id"], holder, seconds=LEASE_S):
                    return chosen
        finally:
            current_actor.reset(token)

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """Return what was recorded, for the annotator; stock Slicer shows it.

        Args:
            image_id: The image.
            label_id: The label.
        """
        revision = self.datastore().saved_revision()
        if revision is None:
            return {}
        changes = list(revision.info.changes)
        if revision.tag == FINAL and open_regions(self.datastore().store, image_id):
            changes.append("Regions were open: a training learns of this label only what was answered or drawn.")
        about = {"revision": revision.number, "voxels": revision.info.voxels, "changes": changes}
        return {"minivess": {**about, **self.datastore().remarks(revision)}}


def _check_known(what: str, name: Any, known: Collection[str]) -> None:
    with http_errors():
        check_known(what, name, known)
