"""How is a bundle trained: data set, patches, loss, checkpoints, publishing."""

from minivess.train.dataset import Case, check_dataset, make_dataset, read_dataset
from minivess.train.run import TrainingResult, publish, train_bundle

__all__ = ["Case", "TrainingResult", "check_dataset", "make_dataset", "publish", "read_dataset", "train_bundle"]
