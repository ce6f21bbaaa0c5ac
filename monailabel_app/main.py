"""The MONAI Label app: `monailabel start_server --app monailabel_app --studies STUDIES`, or `minivess serve STUDIES`."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random

import minivess
from infer_task import VesselInferTask
from minivess.volume import read_volume
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
        """Tell the annotator what was received; the answer is merged into the response."""
        store = self.datastore()
        label = read_volume(store.get_label_uri(label_id, "final"), unit=self.settings.unit)
        image = read_volume(store.get_image_uri(image_id), unit=self.settings.unit)
        return {
            "minivess": {
                "vessel_voxels": int((label.array > 0).sum()),
                "same_grid_as_image": label.same_grid(image),
            }
        }
