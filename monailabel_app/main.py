"""The MONAI Label app: `monailabel start_server --app monailabel_app --studies STUDIES`, or `minivess serve STUDIES`."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

import minivess
from batch import segment_all
from http_errors import as_http
from infer_task import OF_STORE, VesselInferTask, read_image
from label_store import LEASE_S, StoreDatastore, actor_of
from minivess.dicom.web import DicomWeb
from minivess.errors import BusyError, InputError, NotFoundError, UsageError
from minivess.jobs import Job, Jobs, Urgency
from minivess.models.bundle_check import read_config
from minivess.review.desk import ReviewDesk
from minivess.review.drafts import Drafts
from minivess.review.tools import TOOLS
from minivess.store import FINAL, ORIGINAL, LabelStore, current_actor
from minivess.store.monai_label import import_once
from minivess.uncertainty.calibration import read_zones
from minivess.volume import Volume
from pacs import PacsDatastore
from prompt_task import VesselPromptTask
from scoring import DiceScoring, ScoreFile, UncertaintyScoring
from settings import AppSettings
from strategies import BY_SCORE, AtRandom, ByScore
from train_task import VesselTrainTask

logger = logging.getLogger(__name__)


class VesselApp(MONAILabelApp):
    """Vessel segmentation with active learning: one SegResNet bundle, trained by what its annotators submit."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        """Read the settings, and stop with a sentence where one is wrong."""
        self.settings = AppSettings.from_conf(app_dir, conf or {})
        self.bundle = self.settings.prepare_bundle()
        self.scores = ScoreFile(self.settings.model_dir / "scores.json")
        self.jobs: Jobs | None = None  # our own server sets it; MONAI Label's starts processes
        super().__init__(
            app_dir,
            studies,
            conf or {},
            name="MinIVess",
            description="Vessel segmentation with uncertainty-ranked proofreading",
            version=minivess.__version__,
            labels=["vessel"],
        )

    def init_datastore(self) -> Datastore:
        """Keep labels as revisions in the label store; labels that MONAI Label has left in the studies are taken over."""
        if self.studies.startswith(("http://", "https://")):
            user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
            web = DicomWeb(self.studies, user=user or "", password=password or "")
            cache = self.settings.model_dir.parent / "studies"
            cache.mkdir(parents=True, exist_ok=True)
            return PacsDatastore(LabelStore(cache, root=self.settings.store_dir, labels={"vessel": 1}), web)
        store = LabelStore(Path(self.studies), root=self.settings.store_dir, labels={"vessel": 1}, unit=self.settings.unit)
        datastore = StoreDatastore(store)
        import_once(store)
        return datastore

    def init_infers(self) -> dict[str, InferTask]:
        """Offer the segmenter, and the prompts on what it draws."""
        task = VesselInferTask(self.bundle, self.settings)
        task.desk = self.desk
        if self.settings.preload and task.is_valid():
            task.segmenter(None)
        prompts = {f"vessel_{tool}": VesselPromptTask(tool, task, self.desk, self.drafts) for tool in TOOLS}
        return {"segresnet": task, **prompts}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Offer its training."""
        if self.settings.skip_trainers:
            return {}
        task = VesselTrainTask(self.bundle, self.settings)
        task.desk = self.desk
        return {"segresnet": task}

    def init_strategies(self) -> dict[str, Strategy]:
        """Offer ways to choose the next image."""
        strategies: dict[str, Strategy] = {"random": AtRandom()}
        if not self.settings.skip_strategies:
            strategies |= {name: ByScore(name, self.bundle, self.scores) for name in BY_SCORE}
        return strategies

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Offer scores of images and labels."""
        if self.settings.skip_scoring:
            return {}
        methods: dict[str, ScoringMethod] = {"dice": DiceScoring(self.scores, self.settings)}
        if self.settings.epistemic_enabled:
            methods["uncertainty"] = UncertaintyScoring(self._infers["segresnet"], self.scores, self.settings)
        return methods

    def init_batch_infer(self) -> Callable[..., Any]:
        """Segment many images one after the other."""
        return segment_all

    def on_init_complete(self) -> None:
        """Begin what only a server does."""
        if isinstance(self.datastore(), PacsDatastore):
            self.datastore().begin()
        super().on_init_complete()

    @cached_property
    def desk(self) -> ReviewDesk:
        """Where people review places."""
        store = self.datastore().store

        def read(image_id: str) -> Volume:
            return read_image(Path(self.datastore().get_image_uri(image_id)), self.settings)

        modality = str(read_config(self.bundle / "configs" / "inference.yaml")["modality"])
        return ReviewDesk(
            store,
            self.settings.model_dir / "review",
            read,
            modality=modality,
            zones_of=lambda weights: read_zones(self.bundle, weights),
        )

    @cached_property
    def drafts(self) -> Drafts:
        """What people are at."""
        return Drafts(self.desk, self.settings.model_dir / "drafts")

    def info(self) -> dict[str, Any]:
        """Tell of the app; and which images the model is least sure of, under ``minivess``."""
        return {**super().info(), "minivess": {"cases": self.scores.worst(set(self.datastore().list_images()))}}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image."""
        _known("model", request.get("model"), self._infers)
        if request.get("save_label") and request.get("label_tag", ORIGINAL) == FINAL:
            raise as_http(
                InputError(f"A prediction is no {FINAL} label: a person submits that. Leave out label_tag, or name another.")
            )
        store, asked = datastore or self.datastore(), copy.deepcopy(request)
        image_id = str(asked["image"])
        of_store = "/" not in image_id  # else an upload or a session; MONAI Label would take a name for a file where it runs
        asked.pop(OF_STORE, None)
        if of_store:
            asked["image"], asked[OF_STORE] = store.get_image_uri(image_id), image_id
        file, params = self._infers[asked["model"]](asked)
        tag = asked.get("label_tag") or ORIGINAL
        if of_store and asked.get("save_label"):
            try:
                label = store.save_label(image_id, file, tag, {"model": asked["model"], "params": params})
            except BaseException:
                Path(file).unlink(missing_ok=True)
                raise
            return {"label": label, "tag": tag, "file": file, "params": params}
        return {"label": file, "tag": ORIGINAL, "file": file, "params": params}

    def async_scoring(self, method: str | None, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Score in the background; MONAI Label asks after each sample, and work is only started where there is some."""
        if method:
            _known("scoring method", method, self._scoring_methods)
            return self._score_aside(method, params)
        due = [m for m, task in self._scoring_methods.items() if task.is_due(self.datastore())]
        return {m: self._score_aside(m, params) for m in due}

    def _score_aside(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        if self.jobs is None:  # MONAI Label's own server starts a process, another process asks the server
            return super().async_scoring(method, params)
        if any(job.subject == method for job in self.jobs.open("scoring")):
            return {}
        try:
            return self.score_as_job(method, params or {}).to_json()
        except BusyError:
            return {}

    def score_as_job(self, method: str, params: dict[str, Any]) -> Job:
        """Score in this process with the model that answers clicks, which go first."""
        if self.jobs is None:
            raise UsageError("Jobs are run by our own server only: minivess serve.")
        _known("scoring method", method, self._scoring_methods)
        request = {"method": method, **params}
        job = Job.asked("scoring", method, request, urgency=Urgency.BATCH, actor=actor_of(params))

        def work() -> dict[str, Any]:
            with job.turn("scoring"):  # one at a time: the file of scores has one writer
                return {"images": len(self.scoring(request))}

        return self.jobs.start(job, work)

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """Choose an image and reserve it for who asks, so that two annotators never get the same one."""
        _known("strategy", request.get("strategy") or "random", self._strategies)
        store = getattr(self.datastore(), "store", None)
        if store is None:
            return dict(super().next_sample(request))
        holder = actor_of(request)
        token = current_actor.set(holder)
        try:
            while True:
                chosen: dict[str, Any] = super().next_sample(request)
                if not chosen or store.leases.take(chosen["id"], holder, seconds=LEASE_S):
                    return chosen
        finally:
            current_actor.reset(token)

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """Tell the annotator what was kept; stock Slicer shows it."""
        kept = self.datastore().saved()
        if kept is None:
            return {}
        about = {"revision": kept.number, "voxels": kept.info["voxels"], "changes": kept.info["changes"]}
        return {"minivess": {**about, **self.datastore().remarks(kept)}}


def _known(kind: str, name: Any, known: Collection[str]) -> None:
    if name not in known:
        allowed = ", ".join(known) or "none is there yet"
        raise as_http(NotFoundError(f"There is no {kind} {str(name)[:60]!r}. Allowed: {allowed}."))
