"""Which classes and functions a bundle may name: none that runs code, reads pickles, downloads or writes when it is built."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection

#: Packages whose classes may be named.
ALLOWED_TARGETS = (
    "minivess.models.",
    "minivess.ensemble.",
    "minivess.datasets.",
    "minivess.train.",
    "monai.data.",
    "monai.engines.",
    "monai.handlers.",
    "monai.inferers.",
    "monai.losses.",
    "monai.metrics.",
    "monai.networks.",
    "monai.optimizers.",
    "monai.transforms.",
    "ignite.handlers.",
    "ignite.metrics.",
    "torch.optim.",
    "torch.utils.data.",
)
#: Classes that may be named of packages with others that read pickles, download, or open files.
ONLY_CLASSES = {
    "monai.data.": {
        "ArrayDataset", "CacheDataset", "DataLoader", "Dataset", "SmartCacheDataset", "ThreadDataLoader", "ZipDataset",
    },
    "monai.handlers.": {
        "CheckpointSaver", "DecollateBatch", "EarlyStopHandler", "GarbageCollector", "HausdorffDistance", "IgniteMetricHandler",
        "LrScheduleHandler", "MeanDice", "MeanIoUHandler", "MetricLogger", "ParamSchedulerHandler", "PostProcessing",
        "SmartCacheHandler", "StatsHandler", "SurfaceDistance", "TensorBoardImageHandler", "TensorBoardStatsHandler",
        "ValidationHandler",
    },
    "ignite.handlers.": {
        "ConcatScheduler", "CosineAnnealingScheduler", "EMAHandler", "EarlyStopping", "LRScheduler", "LinearCyclicalScheduler",
        "ParamGroupScheduler", "PiecewiseLinear", "ReduceLROnPlateauScheduler", "TerminateOnNan", "TimeLimit", "Timer",
    },
    "torch.utils.data.": {
        "BatchSampler", "ConcatDataset", "DataLoader", "DistributedSampler", "RandomSampler", "SequentialSampler", "Subset",
        "SubsetRandomSampler", "WeightedRandomSampler",
    },
}  # fmt: skip
#: Functions that may be named; any other one could write, delete or load files when the bundle is opened.
ALLOWED_TARGET_FUNCTIONS = frozenset(
    {
        "minivess.datasets.items",
        "minivess.models.pick_device",
        "minivess.models.transforms.image_items",
        "minivess.train.distributed.join_group",
        "minivess.train.distributed.leave_group",
        "minivess.train.distributed.own_device",
        "minivess.train.distributed.replicate",
        "minivess.train.handlers.seed_everything",
    }
)
#: Classes of the packages above that would run code or open files without a check, by the name that they are defined with.
REFUSED_TARGETS = frozenset(
    {
        "FeatureCache", "LMDBDataset", "Lambda", "Lambdad", "LoadImage", "LoadImaged", "PerceptualLoss", "RandLambda",
        "RandLambdad", "SaveImage", "SaveImaged", "Transchex",
        "MedicalNetPerceptualSimilarity", "RadImageNetPerceptualSimilarity",
        "TorchvisionModelPerceptualSimilarity", "TorchVisionFCModel", "TRTEngine", "TrtCompiler", "LearningRateFinder",
        "TextEncoder", "WSISlidingWindowSplitter", "WriteFileMapping", "WriteFileMappingd", "ZarrAvgMerger",
    }
)  # fmt: skip


def unstated_downloads(target: str, given: Collection[str], refused: Collection[str]) -> list[str]:
    """Return the parameters by which a class downloads, or reads a pickle, unless a bundle states that it does not.

    Args:
        target: The class.
        given: Names of the parameters that the bundle states.
        refused: Names of such parameters.
    """
    module, _, name = target.rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return []  # refused for itself
    return [n for n in refused if n in parameters and n not in given and parameters[n].default not in (False, None)]


def problem_of_target(target: str) -> str:
    """Return why a target is not a class or function that is defined in an allowed package; empty when it is.

    MONAI finds targets by walking attributes, so ``monai.data.utils.os.system`` would reach anything that a module has
    imported. Here the name before the last dot must be a module, and the class must be defined in an allowed package.
    """
    module, _, name = target.rpartition(".")
    refused = f"target {target!r} is not allowed; allowed packages: {', '.join(p.rstrip('.') for p in ALLOWED_TARGETS)}"
    if not target.startswith(ALLOWED_TARGETS) or "._" in target:
        return refused
    try:
        defined = getattr(importlib.import_module(module), name)
    except AttributeError:
        return f"target {target!r} is not there: {module} has no {name}"
    except ImportError as error:
        return f"target {target!r} cannot be imported here: {error}"
    if target in ALLOWED_TARGET_FUNCTIONS:
        return ""
    if not (inspect.isclass(defined) and f"{defined.__module__}.".startswith(ALLOWED_TARGETS)):
        return refused if not inspect.isfunction(defined) else f"{refused}, and of these classes only"
    places = (target, f"{defined.__module__}.")  # a module may import a class of another one
    only = next((classes for package, classes in ONLY_CLASSES.items() if any(p.startswith(package) for p in places)), None)
    if only is not None and defined.__name__ not in only:
        return f"{target!r} is not allowed; allowed of this package: {', '.join(sorted(only))}"
    return refused if defined.__name__ in REFUSED_TARGETS else ""
