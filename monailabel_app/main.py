"""The MONAI Label app: `monailabel start_server --app monailabel_app --studies STUDIES`, or `minivess serve STUDIES`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random

import minivess
from infer_task import VesselInferTask, as_http
from minivess.errors import MinivessError
from minivess.train import load_pair
from scoring import DiceScoring, ScoreFile, UncertaintyScoring
from settings import AppSettings
from strategies import MostUncertain
from train_task import VesselTrainTask


class VesselApp(MONAILabelApp):
    """Vessel segmentation with active learning: one SegResNet bundle, trained by what its annotators submit."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        """Read the settings, and stop with a sentence where one is wrong."""
        self.settings = AppSettings.from_conf(app_dir, conf or {})
        self.bundle = self.settings.prepare_bundle()
        self.scores = ScoreFile(self.settings.model_dir / "scores.json")
        super().__init__(
            app_dir,
            studies,
            conf or {},
            name="MinIVess",
            description="Vessel segmentation with uncertainty-ranked proofreading",
            version=minivess.__version__,
            labels=["vessel"],
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Offer the segmenter."""
        task = VesselInferTask(self.bundle, self.settings)
        if self.settings.preload and task.is_valid():
            task.segmenter(None)
        return {"segresnet": task}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Offer its training."""
        return {} if self.settings.skip_trainers else {"segresnet": VesselTrainTask(self.bundle, self.settings)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Offer ways to choose the next image."""
        strategies: dict[str, Strategy] = {"random": Random()}
        if not self.settings.skip_strategies:
            strategies["uncertainty"] = MostUncertain(self.bundle, self.scores)
        return strategies

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Offer scores of images and labels."""
        if self.settings.skip_scoring:
            return {}
        methods: dict[str, ScoringMethod] = {"dice": DiceScoring(self.scores, self.settings)}
        if self.settings.epistemic_enabled:
            methods["uncertainty"] = UncertaintyScoring(self.bundle, self.scores, self.settings)
        return methods

    def async_scoring(self, method: str | None, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Score in the background; MONAI Label asks after each sample, and a process is only started when there is work."""
        if method:
            return super().async_scoring(method, params)
        due = [m for m, task in self._scoring_methods.items() if task.is_due(self.datastore())]
        return {m: super(VesselApp, self).async_scoring(m, params) for m in due}

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """Check what was received and tell the annotator; MONAI Label has stored it by now, so a bad one is taken out again.

        The label that was accepted before comes back in its place: a copy of each accepted one is kept beside the model.
        """
        store = self.datastore()
        received = Path(store.get_label_uri(label_id, "final"))
        accepted = self.settings.model_dir / "accepted" / received.name
        item = {"image": store.get_image_uri(image_id), "label": str(received), "unit": self.settings.unit}
        try:
            _, label = load_pair(item)
        except MinivessError as error:
            if accepted.is_file():
                shutil.copyfile(accepted, received)
            else:
                store.remove_label(label_id, "final")
            raise as_http(error) from error
        accepted.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(received, accepted)
        return {"minivess": {"vessel_voxels": int(label.array.sum()), "accepted": True}}
