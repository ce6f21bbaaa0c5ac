"""What `--conf key value` may say; everything arrives as a string and is read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from minivess.errors import InputError
from minivess.evaluate import SealedTestSet
from minivess.models import check_bundle, weights_path
from minivess.paths import door
from minivess.train import copy_bundle, presets, publish
from minivess.volume import Unit

MODELS = ("segresnet",)
_SWITCHES = ("preload", "skip_trainers", "skip_strategies", "skip_scoring", "use_pretrained_model", "epistemic_enabled")
#: Of MONAI Label's sample apps; they set up dropout passes, which this app's one-pass score does without.
_WITHOUT_EFFECT = ("epistemic_model", "epistemic_samples", "epistemic_simulation_size", "epistemic_dropout", "server_mode")
_VALUES = ("models", "labels", "bundle", "model_dir", "store_dir", "unit", "preset", "epistemic_max_samples", "sealed_test_set")


@dataclass(frozen=True)
class AppSettings:
    """The app's settings.

    Attributes:
        bundle: The bundle that is copied on first start.
        model_dir: Where the trained bundle, its runs and the scores are kept.
        store_dir: Where labels are kept; None is ``minivess_store`` in the studies.
        unit: What 1.0 means in the images' affines; None takes what each file states.
        preset: Training preset that clients see first.
        preload: Load the model at the start.
        skip_trainers: Offer no training.
        skip_strategies: Offer only ``random``.
        skip_scoring: Offer no scoring.
        use_pretrained_model: Use weights that are there already; else the model is hidden until it is trained.
        epistemic_enabled: Score images by uncertainty in the background.
        epistemic_max_samples: Images scored in one go; 0 is all.
        sealed_test_set: Folder of a sealed test set; a training that meets it is refused.
    """

    bundle: Path
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
        """Read the settings.

        Raises:
            InputError: When a key is unknown or a value is not one that it takes.
        """
        allowed = sorted((*_SWITCHES, *_VALUES, *_WITHOUT_EFFECT))
        unknown = sorted(set(conf) - set(allowed))
        if unknown:
            raise InputError(f"--conf {unknown[0]}: there is no such setting. Allowed: {', '.join(allowed)}.")
        wanted = {name.strip() for name in conf.get("models", "all").split(",")}
        if not wanted <= {*MODELS, "all"}:
            raise InputError(f"--conf models {conf['models']}: unknown model. Allowed: all, {', '.join(MODELS)}.")
        if conf.get("labels", "vessel") != "vessel":
            raise InputError(f"--conf labels {conf['labels']}: this app knows one label. Allowed: vessel.")
        bundle = Path(conf.get("bundle") or door("bundles/segresnet")).resolve()
        preset = conf.get("preset") or ("full" if torch.cuda.is_available() else "tiny")
        if preset not in presets(bundle):
            raise InputError(f"--conf preset {preset}: unknown preset. Allowed: {', '.join(presets(bundle))}.")
        return AppSettings(
            bundle=bundle,
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

    def prepare_bundle(self) -> Path:
        """Copy the bundle to where its weights will be; weights that were trained here stay, else the source's are taken."""
        check_bundle(self.bundle)
        target = self.model_dir / MODELS[0]
        if target != self.bundle:
            copy_bundle(self.bundle, target)
            if weights_path(self.bundle).is_file() and not weights_path(target).is_file():
                publish(weights_path(self.bundle), target)
        return target


def _switch(conf: dict[str, str], key: str, *, default: bool) -> bool:
    text = str(conf.get(key, default)).strip().lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise InputError(f"--conf {key} {conf[key]}: not a switch. Allowed: true, false.")
    return text in ("true", "1", "yes")


def _count(conf: dict[str, str], key: str) -> int:
    text = conf.get(key, "0").strip()
    if not text.isdigit():
        raise InputError(f"--conf {key} {conf[key]}: not a count. Allowed: 0 (all), 1, 2, ...")
    return int(text)


def _sealed(text: str) -> Path | None:
    if not text:
        return None
    SealedTestSet(Path(text))  # one that is missing or was changed stops the start
    return Path(text).resolve()


def _unit(text: str) -> Unit | None:
    if text == "":
        return None
    if text == "um":
        return "um"
    if text == "mm":
        return "mm"
    raise InputError(f"--conf unit {text}: unknown unit. Allowed: um, mm; without it, what each file states.")
