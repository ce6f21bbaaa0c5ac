"""Train bundles: data sets, patches, loss, checkpoints, publishing of weights."""

from minivess.datasets import TrainingCase, check_dataset, load_pair, load_reviewed, make_dataset, read_dataset
from minivess.train.run import TrainingResult, copy_bundle, presets, publish, read_stats, set_modality, train_bundle

__all__ = [
    "TrainingCase",
    "TrainingResult",
    "check_dataset",
    "copy_bundle",
    "load_pair",
    "load_reviewed",
    "make_dataset",
    "presets",
    "publish",
    "read_dataset",
    "read_stats",
    "set_modality",
    "train_bundle",
]
