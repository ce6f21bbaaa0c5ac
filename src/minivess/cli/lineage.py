"""``minivess lineage``: where a label came from, and what learned from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivess.cli.output import Json, check_new_file, emit, table
from minivess.cli.store import CaseId, Root, Studies, open_store

if TYPE_CHECKING:
    from minivess.lineage import CaseLineage


def lineage(
    studies: Studies,
    case: CaseId,
    models: Annotated[
        list[Path] | None, typer.Option(help="Bundle, or folder with bundles, to look models up in; may be repeated.")
    ] = None,
    voxel: Annotated[
        tuple[int, int, int] | None, typer.Option(help="Index (x y z) of a voxel, from 0: which revision gave it its value.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="SVG file to write.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show where a label came from: who made each revision, which model proposed it, what that model and later ones learned.

    Example: minivess lineage studies stack1 --models runs/serve/model --voxel 120 88 6 --picture stack1.svg
    """
    from minivess.lineage import draw_lineage, find_models, trace_case, trace_voxel
    from minivess.paths import atomic_file

    check_new_file(picture, ".svg")
    store = open_store(studies, root)
    found = trace_case(store, case, find_models(models or ()))
    content: dict[str, Any] = found.to_json()
    text = _text(found)
    if voxel is not None:
        content["voxel"] = traced = trace_voxel(store, case, voxel)
        text += (
            f"\n\nVoxel {voxel}: {traced['value']}, since revision {traced['revision']} by {traced['by']}, {traced['time_utc']}"
        )
        text += "".join(
            f"\n  {a['verdict']} by {a['by']} in {a['region']}, proposed by {a['model'][:12]}" for a in traced["answers"]
        )
    if picture is not None:
        with atomic_file(picture) as temporary:
            temporary.write_text(draw_lineage(found), encoding="utf-8")
        text += f"\n\nPicture: {picture}"
    emit(content, as_json=as_json, text=text)


def _text(found: CaseLineage) -> str:
    content = found.to_json()
    revisions = [
        {key: row[key] for key in ("number", "tag", "state", "by", "time_utc", "base")}
        | {"proposed_by": (row["proposed_by"] or "-")[:12], "sha256": row["sha256"][:12]}
        for row in content["revisions"]
    ]
    proposals = [
        {
            "queue": proposal.queue,
            "model": proposal.model[:12],
            "regions": proposal.regions,
            "answers": proposal.answers_in_words or "-",
        }
        for proposal in found.proposals
    ]
    models = [
        {
            "model": sha256[:12],
            "trained_from": model.trained_from[:12] or "-",
            "subjects": None if model.subjects is None else len(model.subjects),
            "learned_revisions": ", ".join(map(str, found.learned_by[sha256])) or "answers"
            if sha256 in found.learned_by
            else "-",
            "file": str(model.file),
        }
        for sha256, model in found.models.items()
    ]
    unknown = sorted({proposal.model[:12] for proposal in found.proposals if proposal.model not in found.models})
    parts = [
        f"{found.case.id}, subject {found.case.subject}, image {found.image_sha256[:12]}",
        f"Revisions\n{table(revisions)}",
        f"Proposals\n{table(proposals)}",
        f"Models\n{table(models)}",
    ]
    if unknown:
        parts.append(f"Not found: {', '.join(unknown)}. Say where their bundles are: --models FOLDER")
    return "\n\n".join(parts)
