"""``minivess testset``: seal and verify the test set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit

app = typer.Typer(no_args_is_help=True, help="Seal and verify the test set, which is excluded from all training.")


@app.command("seal")
def seal(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json; its test section is sealed.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the sealed test set.", show_default="DATASET/sealed_test")] = None,
    as_json: Json = False,
) -> None:
    """Record and sign the content and the subjects of the test cases; from now on, training with one of them is refused.

    Example: minivess testset seal data
    """
    from minivess.datasets.dataset import items
    from minivess.evaluate import SealedTestSet
    from minivess.evaluate.sealed import FOLDER
    from minivess.store import system_user

    folder = out or (dataset if dataset.is_dir() else dataset.parent) / FOLDER
    sealed = SealedTestSet.seal(folder, items(str(dataset), "test"), actor=system_user())
    about = {"folder": str(folder), "cases": len(sealed.fingerprints), "subjects": sorted(sealed.subjects)}
    emit(about, as_json=as_json, text=f"Sealed in {folder}: {len(sealed.fingerprints)} cases, {len(sealed.subjects)} subjects.")


@app.command("verify")
def verify(folder: Annotated[Path, typer.Argument(help="Folder of the sealed test set.")], as_json: Json = False) -> None:
    """Verify that the sealed test set was not modified, and count the refused trainings.

    Example: minivess testset verify data/sealed_test
    """
    from minivess.evaluate import SealedTestSet

    sealed = SealedTestSet(folder)
    refused = sum(entry["action"] == "testset.refuse" for entry in sealed.chain.entries())
    verdict = {**asdict(sealed.chain.verify()), "cases": len(sealed.fingerprints), "refused": refused}
    emit(
        verdict,
        as_json=as_json,
        text=f"The test set is unchanged: {len(sealed.fingerprints)} cases; {refused} trainings refused.",
    )
