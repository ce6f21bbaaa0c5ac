"""``minivess testset``: seal and verify the test set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.audit import Checkpoints, CopiesOut, PublicKey
from minivess.cli.output import Json, emit

Folder = Annotated[Path, typer.Argument(help="Folder of the sealed test set.")]

app = typer.Typer(no_args_is_help=True, help="Seal and verify the test set, which is excluded from all training.")


@app.command("seal")
def seal(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json; its test section is sealed.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the sealed test set.", show_default="DATASET/sealed_test")] = None,
    looks: Annotated[int, typer.Option(help="How often it may be opened for an evaluation.")] = 20,
    as_json: Json = False,
) -> None:
    """Record and sign the content and the subjects of the test cases; from now on, training with one of them is refused.

    Example: minivess testset seal data
    """
    from minivess.datasets import read_dataset
    from minivess.datasets.dataset import SEAL_FOLDER, SEAL_POINTER
    from minivess.datasets.dvc import SUFFIX, leave_out_seal
    from minivess.errors import LockoutError
    from minivess.evaluate import SealedTestSet, find_sealed
    from minivess.paths import write_json
    from minivess.store import system_user

    data = (dataset if dataset.is_dir() else dataset.parent).resolve()
    before = find_sealed(data)
    folder = out.resolve() if out else before or data / SEAL_FOLDER
    if before is not None and before.resolve() != folder.resolve():
        raise LockoutError(
            f"The test cases of {data} are sealed in {before}, with its looks and its refusals. Nothing was changed. Without "
            "--out new cases are added to it."
        )
    if data.with_name(data.name + SUFFIX).is_file():
        leave_out_seal(data)
    sealed = SealedTestSet.seal(
        folder, [case.to_item() for case in read_dataset(dataset)["test"]], actor=system_user(), looks=looks
    )
    if folder != data / SEAL_FOLDER:
        write_json(data / SEAL_POINTER, {"folder": str(folder)})
    cases = len(sealed.fingerprints) - len(sealed.withdrawn)
    about = {"folder": str(folder), "cases": cases, "subjects": sorted(sealed.subjects)}
    emit(about, as_json=as_json, text=f"Sealed in {folder}: {cases} cases, {len(sealed.subjects)} subjects.")


@app.command("verify")
def verify(folder: Folder, checkpoints: Checkpoints = None, public_key: PublicKey = None, as_json: Json = False) -> None:
    """Verify that the sealed test set was not modified, and count refusals and looks.

    Looks that were cut off the end of its audit chain are detected only with checkpoints from another place.

    Example: minivess testset verify data/sealed_test --checkpoints safe/checkpoints.jsonl --public-key safe/public_key.pem
    """
    from minivess.evaluate import SealedTestSet, count_looks

    sealed = SealedTestSet(folder)
    verdict = sealed.chain.verify(checkpoints=checkpoints, public_key=public_key)
    if not verdict.ok:
        emit(asdict(verdict), as_json=as_json, text=f"The audit chain of the test set is not valid. {verdict.reason}")
        raise typer.Exit(1)
    refused = sum(entry["action"] == "testset.refuse" for entry in sealed.chain.entries())
    looks = count_looks(sealed)
    cases = len(sealed.fingerprints) - len(sealed.withdrawn)
    about = {
        "cases": cases,
        "withdrawn": len(sealed.withdrawn),
        "refused": refused,
        "looks": looks,
        "looks_allowed": sealed.budget,
    }
    emit(
        {**asdict(verdict), **about},
        as_json=as_json,
        text=f"The test set is unchanged: {cases} cases, {len(sealed.withdrawn)} withdrawn; {refused} uses refused; "
        f"opened {looks} times of {sealed.budget}.",
    )


@app.command("checkpoint")
def checkpoint(folder: Folder, out: CopiesOut = None, as_json: Json = False) -> None:
    """Sign the last entry of the test set's audit chain, and copy the files that a later verification needs.

    Example: minivess testset checkpoint data/sealed_test --out /mnt/safe
    """
    from minivess.evaluate import SealedTestSet
    from minivess.store.audit_copies import sign_and_copy
    from minivess.store.ownership import owned_as_before

    sealed = SealedTestSet(folder)
    with owned_as_before(sealed.folder):
        signed = sign_and_copy(sealed.chain, out)
    emit(signed, as_json=as_json, text=f"Signed entry {signed['seq']}: {signed['hash']}")


@app.command("withdraw")
def withdraw(
    dataset: Annotated[Path, typer.Argument(help="Folder with dataset.json, whose test section still has the subject.")],
    subject: Annotated[str, typer.Option(help="Subject whose cases are withdrawn.")],
    as_json: Json = False,
) -> None:
    """Withdraw the cases of a subject from the test set, for good; a second person approves it, and it counts as a look.

    Its score before and after tells something of these cases. Training refuses them on, also copies of them.

    Example: minivess testset withdraw data --subject mouse7
    """
    from minivess.datasets import read_dataset
    from minivess.errors import InputError
    from minivess.evaluate import SealedTestSet, find_sealed, open_look
    from minivess.store import system_user

    folder, actor = find_sealed(dataset), system_user()
    rows = [case.to_item() for case in read_dataset(dataset)["test"] if case.subject == subject]
    if folder is None or not rows:
        raise InputError(f"There is no sealed test case of the subject {subject} in {dataset}. Nothing was changed.")
    sealed = SealedTestSet(folder)
    sealed.check_withdrawal(rows)
    look = open_look(sealed, model="", weights_sha256="", actor=actor, for_withdrawal=True)
    left = sealed.withdraw(rows, reason=look.reason, actor=actor)
    about = {"folder": str(folder), "withdrawn": len(rows), "cases": len(left.fingerprints) - len(left.withdrawn)}
    emit(
        about,
        as_json=as_json,
        text=f"Withdrawn: {len(rows)} cases; {about['cases']} are left. {look.sentence()}. "
        "Take the subject out of the test section of dataset.json before the next look.",
    )


@app.command("approve")
def approve(
    folder: Folder,
    reason: Annotated[str, typer.Option(help="Why it is opened, for the audit chain and the report.")],
    withdrawal: Annotated[bool, typer.Option("--withdrawal", help="For `testset withdraw`, also when no look is left.")] = False,
    as_json: Json = False,
) -> None:
    """Approve that somebody else opens the test set for one evaluation.

    Example: minivess testset approve data/sealed_test --reason "table of the paper"
    """
    from minivess.evaluate import SealedTestSet, approve_look, count_looks
    from minivess.store import system_user

    sealed, actor = SealedTestSet(folder), system_user()
    approve_look(sealed, reason=reason, actor=actor, for_withdrawal=withdrawal)
    left = sealed.budget - count_looks(sealed)
    emit(
        {"folder": str(folder), "approved_by": actor, "reason": reason, "looks_left": left},
        as_json=as_json,
        text=f"Approved by {actor}: one {'withdrawal' if withdrawal else 'evaluation'} by somebody else. {left} looks are left.",
    )
