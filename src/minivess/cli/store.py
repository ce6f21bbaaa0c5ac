"""``minivess store``: look at, restore, compare and export the labels of a studies folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, UnitOption, answer, as_unit, table

if TYPE_CHECKING:
    from minivess.store import LabelStore, Revision

app = typer.Typer(no_args_is_help=True, help="The labels of a studies folder: history, restore, compare, repair, export.")

Studies = Annotated[Path, typer.Argument(help="Folder with the images.")]
CaseId = Annotated[str, typer.Argument(help="Id of an image: its name without the suffix.")]
Root = Annotated[Path | None, typer.Option("--store", help="Where the labels are kept.", show_default="STUDIES/minivess_store")]


@app.command("log")
def log(
    studies: Studies, case: Annotated[str, typer.Argument(help="Id of an image; all of them without it.")] = "",
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """List the revisions: who submitted what, when, made from which, and which one counts.

    Example: minivess store log studies stack1
    """
    store = _open(studies, root)
    cases = [case] if case else [c.id for c in store.images.all()]
    rows = [_row(r) for c in cases for r in store.history(c)]
    waiting = len(store.rivals())
    note = f"\n{waiting} wait for a decision between two annotators: minivess store restore" if waiting else ""
    answer(rows, as_json=as_json, text=table(rows) + note)


@app.command("show")
def show(
    studies: Studies, case: CaseId, number: Annotated[int, typer.Argument(help="Number of the revision.")],
    against: Annotated[int | None, typer.Option(help="Compare with this revision.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a PNG of the label over the image.")] = None,
    root: Root = None, unit: UnitOption = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show one revision: what is known of it, how it differs from another, how it looks.

    Example: minivess store show studies stack1 5 --against 3 --picture diff.png
    """
    from minivess.volume import read_volume

    store = _open(studies, root)
    revision = store.revision(case, number)
    about: dict[str, Any] = {**_row(revision), "sha256": revision.sha256, "file": str(revision.path), **revision.info}
    if against is not None:
        from minivess.store.compare import compare_revisions

        about |= compare_revisions(revision, store.revision(case, against))
    if picture is not None:
        label = read_volume(revision.path).array > 0
        other = read_volume(store.revision(case, against).path).array > 0 if against is not None else None
        from minivess.pictures import overlay, projection, save_png, side_by_side

        grey = projection(read_volume(store.images.get(case).image, unit=as_unit(unit)))
        save_png(side_by_side(grey, overlay(grey, label, other)), picture)
    text = "\n".join(f"{key}: {value}" for key, value in about.items())
    answer({**about, "reviews": store.reviews(case)}, as_json=as_json, text=text)


@app.command("restore")
def restore(
    studies: Studies, case: CaseId, number: Annotated[int, typer.Argument(help="Number of the revision that is to count.")],
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Let an earlier revision count again, as a new one. It also decides between two annotators.

    Example: minivess store restore studies stack1 3
    """
    from minivess.store.actor import system_user

    kept = _open(studies, root).restore(case, number, actor=system_user())
    answer(_row(kept), as_json=as_json, text=f"Revision {number} of {case} counts again, as revision {kept.number}.")


@app.command("repair")
def repair(studies: Studies, root: Root = None, as_json: Json = False) -> None:
    """Make the index from the files again, and compare every label with its hash. Stop the server first.

    Example: minivess store repair studies
    """
    from minivess.store.repair import repair_store

    report = repair_store(_open(studies, root))
    faults = "\n".join(report["faults"]) or "Every label is the one that was submitted."
    answer(report, as_json=as_json, text=f"The index was made from {report['events']} events.\n{faults}")
    if report["faults"]:
        raise typer.Exit(1)


@app.command("export")
def export(
    studies: Studies,
    out: Annotated[Path | None, typer.Argument(help="Folder to write to; the studies themselves without it.")] = None,
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Write the labels that count as MONAI Label keeps them: labels/TAG/IMAGE.nii.gz and datastore_v2.json.

    A file that is there and differs is put aside as *.replaced-N.

    Example: minivess store export studies exported
    """
    from minivess.store.monai_label import export as export_labels

    counts = export_labels(_open(studies, root), out or studies)
    told = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items())
    answer(counts, as_json=as_json, text=f"{out or studies}: {told}.")


def _open(studies: Path, root: Path | None) -> LabelStore:
    from minivess.errors import InputError
    from minivess.store import LabelStore
    from minivess.store.store import STORE_FOLDER

    place = root or studies / STORE_FOLDER
    if not place.is_dir():
        raise InputError(f"There is no store at {place}. It is made when the studies are served: minivess serve {studies}")
    return LabelStore(studies, root=root)


def _row(revision: Revision) -> dict[str, Any]:
    names = ("case", "number", "tag", "state", "actor", "base", "time_utc")
    return {**{name: getattr(revision, name) for name in names}, "voxels": sum(revision.info.get("voxels", {}).values())}
