"""The registry of models in MLflow: champion and challenger, promotion within limits, roll-back, verified copies."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, InputError, LockoutError, RemoteError
from minivess.paths import atomic_folder, file_sha256
from minivess.track.limits import Limits, judge

CHAMPION, CHALLENGER = "champion", "challenger"
_BEFORE_TAG = "minivess.champion_before"
_WEIGHTS, _INFERENCE = Path("models", "model.safetensors"), Path("configs", "inference.yaml")


class Registry:
    """Versions of one model in the registry."""

    def __init__(self, client: Any, name: str) -> None:
        """Store client and name.

        Args:
            client: Of :func:`minivess.track.client.connect`.
            name: Name of the model.
        """
        self.client = client
        self.name = name

    def resolve(self, alias: str) -> tuple[str, str] | None:
        """Return number and hash of the weights of the version with an alias; None when no version has it.

        Args:
            alias: champion or challenger.

        Raises:
            RemoteError: When the server does not answer, or not as MLflow.
        """
        from mlflow.exceptions import MlflowException

        try:
            version = self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                return None
            raise RemoteError(f"MLflow does not answer: {str(error).splitlines()[0][:200]}") from error
        return str(version.version), str(version.tags.get("weights_sha256", ""))

    def promote(self, report: Mapping[str, Any], limits: Limits, *, tell_numbers: bool = True) -> str:
        """Make the challenger the champion, if a report on both shows that it is within the limits.

        Args:
            report: Content of ``report.json``, on both models.
            limits: Fixed before the training.
            tell_numbers: Whether a refusal says by how much; otherwise which limits were not met.

        Returns:
            Number of the new champion.

        Raises:
            LockoutError: When it is not within the limits; the reasons are named, and nothing changes.
            ConflictError: When another version was promoted meanwhile.
            InputError: When there is no challenger, or it is the champion.
        """
        challenger, champion = self.check_challenger()
        reasons = judge(report, challenger[1], champion[1] if champion else None, limits)
        if reasons and not tell_numbers:
            reasons = [f"outside the limits of {', '.join(dict.fromkeys(reason.split()[0].rstrip(':') for reason in reasons))}"]
        if reasons:
            raise LockoutError(f"Version {challenger[0]} of {self.name} is not promoted: {'; '.join(reasons)}.")
        if (self.resolve(CHALLENGER), self.resolve(CHAMPION)) != (challenger, champion):
            raise ConflictError(
                f"The challenger or the champion of {self.name} has changed while they were compared. Nothing was promoted. "
                "Compare them again."
            )
        if champion is not None:
            self.client.set_model_version_tag(self.name, challenger[0], _BEFORE_TAG, champion[0])
        self.client.set_registered_model_alias(self.name, CHAMPION, challenger[0])
        return challenger[0]

    def check_challenger(self) -> tuple[tuple[str, str], tuple[str, str] | None]:
        """Return number and hash of challenger and champion; the latter may be None.

        Raises:
            InputError: When there is no challenger, or it is the champion.
        """
        challenger, champion = self.resolve(CHALLENGER), self.resolve(CHAMPION)
        if challenger is None:
            raise InputError(f"{self.name} has no challenger: train one, and send it (minivess track send).")
        if champion is not None and champion[0] == challenger[0]:
            raise InputError(f"Version {challenger[0]} of {self.name} is the champion already.")
        return challenger, champion

    def roll_back(self) -> str:
        """Make the champion before the champion again, and return its number.

        Raises:
            InputError: When there is none.
            RemoteError: When it was deleted, or the server does not answer.
        """
        from mlflow.exceptions import MlflowException

        champion = self.resolve(CHAMPION)
        if champion is None:
            raise InputError(f"{self.name} has no champion to take back.")
        before = self.client.get_model_version(self.name, champion[0]).tags.get(_BEFORE_TAG)
        if not before:
            raise InputError(f"Version {champion[0]} of {self.name} was the first champion: there is none before it.")
        try:
            self.client.set_registered_model_alias(self.name, CHAMPION, before)
        except MlflowException as error:
            said = str(error).splitlines()[0][:200]
            raise RemoteError(
                f"Version {before} of {self.name} cannot be the champion again: {said}. Nothing was changed."
            ) from error
        return str(before)

    def fetch(self, alias: str, folder: Path) -> str:
        """Copy the bundle of a version; its weights must have the hash that the registry states.

        Args:
            alias: champion or challenger; it is resolved once.
            folder: New or empty folder.

        Returns:
            Number of the version.

        Raises:
            InputError: When no version has the alias.
            LockoutError: When the weights are not those that were registered.
        """
        found = self._known(alias)
        self._copy(*found, folder)
        return found[0]

    def fetch_below(self, alias: str, parent: Path) -> Path:
        """Copy the bundle of a version into a folder with its name and number, unless it is there; return that folder.

        Args:
            alias: champion or challenger; it is resolved once.
            parent: Where the folder is made.

        Raises:
            InputError: When no version has the alias.
            LockoutError: When weights or configuration, also of the copy that is there, are not those that were registered.
        """
        number, sha256 = self._known(alias)
        folder = parent / f"{self.name}-{number}"
        if not (folder.is_dir() and any(folder.iterdir())):
            self._copy(number, sha256, folder)
        elif not self._is_copy(folder, number, sha256):
            raise LockoutError(f"{folder} is not version {number} of {self.name} as it was registered. Move it away; try again.")
        return folder

    def _is_copy(self, folder: Path, number: str, sha256: str) -> bool:
        """Return whether a folder holds the bundle of a version, with its weights and its configuration."""
        from minivess.models.bundle import INFERENCE_HASH, inference_sha256

        weights = folder / _WEIGHTS
        if not (weights.is_file() and file_sha256(weights) == sha256 and (folder / _INFERENCE).is_file()):
            return False
        stated = self.client.get_model_version(self.name, number).tags.get(INFERENCE_HASH)
        return not stated or bool(inference_sha256(folder) == stated)

    def _known(self, alias: str) -> tuple[str, str]:
        found = self.resolve(alias)
        if found is None:
            raise InputError(f"{self.name} has no {alias}.")
        return found

    def _copy(self, number: str, sha256: str, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts

        from minivess.models.bundle import INFERENCE_HASH, inference_sha256

        with atomic_folder(folder) as partial, tempfile.TemporaryDirectory(dir=partial.parent) as text:
            version = self.client.get_model_version(self.name, number)
            try:
                copy = Path(download_artifacts(version.source, dst_path=text))
            except Exception as error:  # MLflow's own, and those of requests and of the operating system
                said = (str(error).splitlines() or [type(error).__name__])[0][:200]
                raise RemoteError(f"MLflow does not give the files of version {number} of {self.name}: {said}") from error
            weights = copy / _WEIGHTS
            if not weights.is_file() or file_sha256(weights) != sha256:
                raise LockoutError(
                    f"The weights of version {number} of {self.name} are not those that were registered. Do not use them."
                )
            stated = version.tags.get(INFERENCE_HASH)  # versions of before have none
            if stated and inference_sha256(copy) != stated:
                raise LockoutError(
                    f"configs/inference.yaml of version {number} of {self.name} is not the registered one. Do not use it."
                )
            for part in sorted(copy.iterdir()):
                part.rename(partial / part.name)
