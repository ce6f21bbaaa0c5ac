"""Train bundles: data sets, patches, loss, checkpoints, publishing of weights."""

from minivess.train.publishing import earlier_models, model_before, publish, roll_back
from minivess.train.rehearsal import rehearsal_cases, write_training_data
from minivess.train.retrain import read_cases, train_and_judge
from minivess.train.run import TrainingResult, can_train, copy_bundle, presets, read_stats, set_modality, train_bundle
from minivess.train.tuning import TuningResult, tune_settings

__all__ = [
    "TrainingResult",
    "TuningResult",
    "can_train",
    "copy_bundle",
    "earlier_models",
    "model_before",
    "presets",
    "publish",
    "read_cases",
    "read_stats",
    "rehearsal_cases",
    "roll_back",
    "set_modality",
    "train_and_judge",
    "train_bundle",
    "tune_settings",
    "write_training_data",
]
