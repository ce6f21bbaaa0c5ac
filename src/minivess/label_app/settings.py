"""The settings of ``--conf key value``; all values are strings and are parsed strictly."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minivess.errors import BundleError, InputError
from minivess.evaluate import SealedTestSet
from minivess.models import accepted_prompts, check_bundle, weights_path
from minivess.models.bundle_check import members_of, read_config
from minivess.paths import resource_path
from minivess.train import can_train, copy_bundle, presets, publish
from minivess.train.publishing import published_digest
from minivess.volume import Unit

_logger = logging.getLogger(__name__)

_SWITCHES = ("preload", "skip_trainers", "skip_strategies", "skip_scoring", "use_pretrained_model", "epistemic_enabled")
#: Settings of MONAI Label's sample apps for dropout passes; the score of this app needs one pass.
_WITHOUT_EFFECT = ("epistemic_model", "epistemic_samples", "epistemic_simulation_size", "epistemic_dropout", "server_mode")
_VALUES = (
    "models", "labels", "bundle", "prompt_bundle", "model_dir", "store_dir", "unit", "preset", "epistemic_max_samples",
    "sealed_test_set",
)  # fmt: skip


@dataclass(frozen=True)
class AppSettings:
    """Settings of the label app.

    Attributes:
        bundle: Folder of the bundle that is copied at the first start.
        prompt_bundle: Folder of the bundle that answers clicks and boxes; None for ``bundle``.
        model_dir: Folder of the trained bundle, its runs and the scores.
        store_dir: Folder of the label store; None for ``minivess_store`` in the studies.
        unit: Unit of the images' affines; None for the unit that each file states.
        preset: Training preset that is the default for clients.
        preload: Load the model at the start.
        skip_trainers: Offer no training.
        skip_strategies: Offer only ``random``.
        skip_scoring: Offer no scoring.
        use_pretrained_model: Use existing weights; otherwise the model is hidden until it is trained.
        epistemic_enabled: Score images by uncertainty in the background.
        epistemic_max_samples: Images scored in one run; 0 for all.
        sealed_test_set: Folder of a sealed test set; a training that meets it is refused.
    """

    bundle: Path
    prompt_bundle: Path | None
    model_dir: Path
    store_dir: Path | None
    unit: Unit | None
    preset: str
    preload: bool
    skip_trainers: bool
    skip_strategies: bool
    skip_scoring: bool
    use_pretrained_model: bool
    epistemic_enabled: bool
    epistemic_max_samples: int
    sealed_test_set: Path | None

    @staticmethod
    def from_conf(app_dir: str, conf: dict[str, str]) -> AppSettings:
        """Parse the settings.

        Args:
            app_dir: Folder of the app.
            conf: Key -> value.

        Raises:
            InputError: When a key is unknown or a value is not allowed.
        """
        allowed = sorted((*_SWITCHES, *_VALUES, *_WITHOUT_EFFECT))
        unknown = sorted(set(conf) - set(allowed))
        if unknown:
            raise InputError(f"--conf {unknown[0]}: unknown setting. Allowed: {', '.join(allowed)}.")
        if conf.get("labels", "vessel") != "vessel":
            raise InputError(f"--conf labels {conf['labels']}: this app has one label. Allowed: vessel.")
        bundle = Path(conf.get("bundle") or resource_path("bundles/segresnet")).resolve()
        model = model_name(bundle)
        wanted = {name.strip() for name in conf.get("models", "all").split(",")}
        if not wanted <= {model, "all"}:
            raise InputError(f"--conf models {conf['models']}: unknown model. Allowed: all, {model}.")
        preset = conf.get("preset") or ("full" if torch.cuda.is_available() else "tiny")
        if can_train(bundle) and preset not in presets(bundle):
            raise InputError(f"--conf preset {preset}: unknown preset. Allowed: {', '.join(presets(bundle))}.")
        return AppSettings(
            bundle=bundle,
            prompt_bundle=_prompt_bundle(conf.get("prompt_bundle", "")),
            model_dir=Path(conf.get("model_dir") or Path(app_dir) / "model").resolve(),
            store_dir=Path(conf["store_dir"]).resolve() if conf.get("store_dir") else None,
            unit=_unit(conf.get("unit", "")),
            preset=preset,
            preload=_switch(conf, "preload", default=False),
            skip_trainers=_switch(conf, "skip_trainers", default=False),
            skip_strategies=_switch(conf, "skip_strategies", default=False),
            skip_scoring=_switch(conf, "skip_scoring", default=False),
            use_pretrained_model=_switch(conf, "use_pretrained_model", default=True),
            epistemic_enabled=_switch(conf, "epistemic_enabled", default=True),
            epistemic_max_samples=_count(conf, "epistemic_max_samples"),
            sealed_test_set=_sealed(conf.get("sealed_test_set", "")),
        )

    @property
    def model_name(self) -> str:
        """Name of the model over HTTP, and of its folder in the workspace."""
        return model_name(self.bundle)

    def prepare_bundle(self) -> Path:
        """Copy the bundle to the model folder; weights that were trained there stay, otherwise those of the source are copied.

        The configuration of weights that stay is replaced only by one of the same network: a newer minivess may have another.
        An ensemble, which is not trained here, is replaced as a whole.

        Returns:
            Folder of the copy.

        Raises:
            InputError: When the weights in the workspace were trained for another modality or voxel size.
        """
        check_bundle(self.bundle)
        target = self.model_dir / self.model_name
        if target == self.bundle:
            return target
        own, kept = published_digest(self.bundle), published_digest(target)
        if kept and own and own != kept:
            if members_of(self.bundle) or members_of(target):
                shutil.rmtree(target)
                kept = ""
            else:
                words = "The weights in %s are served, which may be trained further. For those of %s: another --workspace."
                _logger.warning(words, target, self.bundle)
        if kept:
            _refuse_other_input(self.bundle, target)
        if not kept or _stated(self.bundle, "network_def") == _stated(target, "network_def"):
            copy_bundle(self.bundle, target)
        if own and not kept:
            publish(weights_path(self.bundle), target)
        return target


def model_name(bundle: Path) -> str:
    """Return the name by which clients know the model of a bundle: that of its metadata, without ``_vessel``.

    Raises:
        BundleError: When the bundle is refused, or the name is no word of letters, digits, ``_``, ``-`` and dots.
    """
    check_bundle(bundle)
    name = str(read_config(bundle / "configs" / "metadata.json")["name"]).removesuffix("_vessel")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", name):
        raise BundleError(
            f"metadata.json: name is {name[:80]!r}. Allowed: letters, digits, _, - and dots, such as segresnet_vessel."
        )
    return name


def _stated(bundle: Path, key: str) -> Any:
    """Return what a bundle states for inference."""
    return read_config(bundle / "configs" / "inference.yaml").get(key)


def _refuse_other_input(bundle: Path, target: Path) -> None:
    """Refuse to run weights with another normalisation or voxel size than they were trained for."""
    for key in ("modality", "spacing_um"):
        wanted, there = _stated(bundle, key), _stated(target, key)
        if wanted != there:
            raise InputError(
                f"The workspace {target} holds a model with {key} {there}, and {bundle} states {wanted}: its weights would see "
                "other images than they were trained on. Name another --workspace, or the bundle that this one was begun with."
            )


def _prompt_bundle(text: str) -> Path | None:
    if not text:
        return None
    bundle = Path(text).resolve()
    check_bundle(bundle)
    if not accepted_prompts(bundle):
        raise InputError(f"--conf prompt_bundle {text}: its network takes no prompts. Use one such as litemedsam or vista3d.")
    if not weights_path(bundle).is_file():
        raise InputError(f"--conf prompt_bundle {text}: it has no weights. Import or train them: docs/howto/add_a_model.md.")
    return bundle


def _switch(conf: dict[str, str], key: str, *, default: bool) -> bool:
    text = str(conf.get(key, default)).strip().lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise InputError(f"--conf {key} {conf[key]}: not a boolean. Allowed: true, false.")
    return text in ("true", "1", "yes")


def _count(conf: dict[str, str], key: str) -> int:
    text = conf.get(key, "0").strip()
    if not text.isdigit():
        raise InputError(f"--conf {key} {conf[key]}: not a number. Allowed: 0 (all), 1, 2, ...")
    return int(text)


def _sealed(text: str) -> Path | None:
    if not text:
        return None
    SealedTestSet(Path(text))  # raises when it is missing or was modified
    return Path(text).resolve()


def _unit(text: str) -> Unit | None:
    if text in ("um", "mm"):
        return "um" if text == "um" else "mm"
    if text:
        raise InputError(f"--conf unit {text}: unknown unit. Allowed: um, mm; without it, the unit that each file states.")
    return None
