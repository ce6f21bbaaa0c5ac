"""``minivess store``: inspect, compare, restore, repair, upgrade and export the labels of a studies folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, UnitOption, as_unit, check_new_file, emit, table

if TYPE_CHECKING:
    from minivess.store import LabelStore, Revision

app = typer.Typer(
    no_args_is_help=True, help="Inspect, compare, restore, repair, upgrade and export the labels of a studies folder."
)

Studies = Annotated[Path, typer.Argument(help="Folder of the images.")]
CaseId = Annotated[str, typer.Argument(help="Id of an image: its file name without the suffix.")]
Root = Annotated[Path | None, typer.Option("--store", help="Folder of the store.", show_default="STUDIES/minivess_store")]


@app.command("log")
def log(
    studies: Studies, case: Annotated[str, typer.Argument(help="Id of an image; all images by default.")] = "",
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """List the revisions: number, tag, state, annotator, base revision and time.

    Example: minivess store log studies stack1
    """
    store = open_store(studies, root)
    cases = [case] if case else [c.id for c in store.images.all()]
    rows = [_row(r) for c in cases for r in store.history(c)]
    conflicts = len(store.conflicting())
    note = (
        f"\n{conflicts} unresolved conflicts between annotators. Resolve them: minivess store restore {studies} CASE NUMBER"
        if conflicts
        else ""
    )
    emit(rows, as_json=as_json, text=table(rows) + note)


@app.command("show")
def show(
    studies: Studies, case: CaseId, number: Annotated[int, typer.Argument(help="Number of the revision.")],
    against: Annotated[int | None, typer.Option(help="Number of a revision to compare with.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file to write: the label over the image.")] = None,
    root: Root = None, unit: UnitOption = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show one revision, optionally its differences from another one and an image.

    Example: minivess store show studies stack1 5 --against 3 --picture diff.png
    """
    from minivess.volume import read_volume

    check_new_file(picture, ".png")
    store = open_store(studies, root)
    revision = store.revision(case, number)
    about: dict[str, Any] = {**_row(revision), "sha256": revision.sha256, "file": str(revision.path), **revision.info.to_json()}
    if against is not None:
        from minivess.evaluate.compare_revisions import compare_revisions

        about |= compare_revisions(store, revision, store.revision(case, against))
    if picture is not None:
        label = read_volume(store.label_file(revision)).array > 0
        other = read_volume(store.label_file(store.revision(case, against))).array > 0 if against is not None else None
        from minivess.pictures import overlay, projection, save_png, side_by_side

        grey = projection(read_volume(store.images.get(case).image, unit=as_unit(unit)))
        save_png(side_by_side(grey, overlay(grey, label, other)), picture)
    text = "\n".join(f"{key}: {value}" for key, value in about.items())
    emit({**about, "reviews": store.reviews(case)}, as_json=as_json, text=text)


@app.command("restore")
def restore(
    studies: Studies, case: CaseId, number: Annotated[int, typer.Argument(help="Number of the revision to restore.")],
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Make an earlier revision current again, as a new revision. This also resolves a conflict between two annotators.

    Example: minivess store restore studies stack1 3
    """
    from minivess.store.actor import system_user
    from minivess.store.ownership import owned_as_before

    with owned_as_before(_store_folder(studies, root)):
        restored = open_store(studies, root).restore(case, number, actor=system_user())
    emit(_row(restored), as_json=as_json, text=f"Revision {number} of {case} is current again, as revision {restored.number}.")


@app.command("repair")
def repair(studies: Studies, root: Root = None, as_json: Json = False) -> None:
    """Rebuild the index from the audit chain and the files, and compare every file with the chain. Stop the server first.

    Example: minivess store repair studies
    """
    from minivess.store.ownership import owned_as_before
    from minivess.store.repair import SET_ASIDE, repair_store

    with owned_as_before(_store_folder(studies, root)):
        report = repair_store(open_store(studies, root))
    lines = [f"The index was rebuilt from {report['events']} events."]
    if report["set_aside"]:
        lines.append(f"{report['set_aside']} files that are not in the audit chain were moved to {SET_ASIDE}.")
    emit(report, as_json=as_json, text="\n".join([*lines, *(report["faults"] or ["Every file is the one that was recorded."])]))
    if report["faults"]:
        raise typer.Exit(1)


@app.command("upgrade")
def upgrade(studies: Studies, root: Root = None, as_json: Json = False) -> None:
    """Upgrade a store of an older version of minivess, and keep a copy of it. Stop the server first.

    Example: minivess store upgrade studies
    """
    from minivess.store.ownership import owned_as_before
    from minivess.store.upgrade import upgrade_store

    with owned_as_before(_store_folder(studies, root)):
        report = upgrade_store(_store_folder(studies, root))
    done = f"Format {report['from']} became {report['to']}: {report['events']} events. The old store is in {report['copy']}."
    text = done if report["copy"] else f"The store has format {report['to']} already; nothing was to do."
    emit(report, as_json=as_json, text="\n".join([text, *report["faults"]]))


@app.command("export")
def export(
    studies: Studies,
    out: Annotated[Path | None, typer.Argument(help="Folder to write to; the studies folder by default.")] = None,
    root: Root = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Write the current labels in the layout of MONAI Label: labels/TAG/IMAGE.nii.gz and datastore_v2.json.

    An existing file with other content is renamed to *.replaced-N.

    Example: minivess store export studies exported
    """
    from minivess.store.monai_label import export as export_labels

    counts = export_labels(open_store(studies, root), out or studies)
    refused = counts["refused"]
    summary = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items() if what != "refused")
    lines = [f"{out or studies}: {summary}.", *(f"not exported: {name}: {why}" for name, why in refused.items())]
    emit(counts, as_json=as_json, text="\n".join(lines))
    if refused:
        raise typer.Exit(1)


def _store_folder(studies: Path, root: Path | None) -> Path:
    from minivess.errors import InputError
    from minivess.store.store import STORE_FOLDER

    folder = root or studies / STORE_FOLDER
    if not folder.is_dir():
        raise InputError(f"No store in {folder}. It is created when the studies are served: minivess serve {studies}")
    return folder


def open_store(studies: Path, root: Path | None) -> LabelStore:
    """Open the store of a studies folder.

    Args:
        studies: Folder of the images.
        root: Folder of the store; by default the usual one inside.

    Raises:
        InputError: When there is none.
    """
    from minivess.store import LabelStore

    _store_folder(studies, root)
    return LabelStore(studies, root=root)


def _row(revision: Revision) -> dict[str, Any]:
    columns = ("number", "tag", "state", "actor", "base", "time_utc")
    facts = {name: getattr(revision, name) for name in columns}
    return {"case": revision.image_id, **facts, "voxels": sum(revision.info.voxels.values())}
