"""``minivess bundle``: list, check, import, combine, merge and roll back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.output import Json, emit, table

if TYPE_CHECKING:
    from minivess.evaluate.gate_scores import GateScores
    from minivess.evaluate.promotion import Promotion

app = typer.Typer(no_args_is_help=True, help="List and check MONAI bundles, import weights, and take a publication back.")


@app.command("check")
def check(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")], as_json: Json = False) -> None:
    """Check the configuration of a bundle without running it, and refuse expressions that would run code.

    Example: minivess bundle check bundles/segresnet
    """
    from minivess.models import check_bundle

    files = check_bundle(bundle)
    text = f"{bundle} is valid and contains no code: {', '.join(files)}"
    emit({"bundle": str(bundle), "checked": files}, as_json=as_json, text=text)


@app.command("roll-back")
def roll_back_(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")], as_json: Json = False) -> None:
    """Go back to the model before the present one; repeat it to go further back. A running server uses it at once.

    Example: minivess bundle roll-back WORKSPACE/model/segresnet
    """
    from minivess.paths import file_sha256
    from minivess.train import roll_back

    sha256 = file_sha256(roll_back(bundle))
    emit({"bundle": str(bundle), "weights_sha256": sha256}, as_json=as_json, text=f"{bundle} has its earlier weights: {sha256}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the bundles that are installed with minivess.

    Example: minivess bundle list
    """
    from minivess.models import weights_path
    from minivess.models.bundle_check import read_config
    from minivess.paths import resource_path

    rows = []
    for folder in sorted(f for f in resource_path("bundles").iterdir() if (f / "configs").is_dir()):
        metadata = read_config(folder / "configs" / "metadata.json")
        row = {
            "bundle": folder.name,
            "version": metadata["version"],
            "trained": weights_path(folder).is_file(),
            "folder": str(folder),
        }
        rows.append(row)
    emit(rows, as_json=as_json, text=table(rows))


@app.command("import-weights")
def import_weights_(
    source: Annotated[
        Path,
        typer.Argument(
            help="Published weights: a state dict, safetensors or arrays (.npz); `published`: those that a package brought."
        ),
    ],
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle whose network they fit.")],
    as_json: Json = False,
) -> None:
    """Import published weights into a bundle. Their licence is shown, and recorded in the file.

    Example: minivess bundle import-weights fcn_model_converted.npz MY_MODELS/vessap

    Example: minivess bundle import-weights published MY_MODELS/litemedsam
    """
    import tempfile

    from minivess.errors import NotFoundError
    from minivess.models.foreign_weights import import_weights, licence_of, published_weights
    from minivess.models.weights import FILE_NAME
    from minivess.paths import file_sha256
    from minivess.train import publish

    if not bundle.is_dir():
        raise NotFoundError(
            f"There is no bundle at {bundle}. Copy one first: `minivess bundle list` names those that are installed."
        )
    if str(source) == "published":
        source = published_weights(bundle)
    with tempfile.TemporaryDirectory(dir=bundle) as folder:
        file = publish(import_weights(source, bundle, Path(folder) / FILE_NAME), bundle)  # the model before is kept
    licence = licence_of(bundle)
    content = {"bundle": str(bundle), "weights_sha256": file_sha256(file), "licence": licence}
    emit(content, as_json=as_json, text=f"{bundle} has the weights of {source.name}.\nLicence: {licence or 'none is stated'}")


@app.command("sam3-base")
def sam3_base(
    bundle: Annotated[Path, typer.Argument(help="Folder of a SAM 3 bundle.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder with the files of facebook/sam3, which need Meta's permission.")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random", help="A tiny base of random values, for trials: it knows no pictures.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the frozen base of a SAM 3 bundle, once: image encoder, heads and text embeddings. Nothing is downloaded.

    Example: minivess bundle sam3-base MY_MODELS/sam3_lora --checkpoint facebook_sam3
    """
    from minivess.errors import ConflictError, UsageError
    from minivess.models import base_path, check_bundle
    from minivess.models.sam3_base import LICENCE, import_base, random_base

    if (checkpoint is None) != random:
        raise UsageError("Name either --checkpoint FOLDER or --random.")
    check_bundle(bundle)
    if base_path(bundle).exists():
        raise ConflictError(
            f"{base_path(bundle)} has a base. Adapters belong to it, and a copied bundle shares it. Nothing was changed. Move it "
            "away first, or make the base of another copy of the bundle."
        )
    folder = random_base(base_path(bundle)) if checkpoint is None else import_base(checkpoint, base_path(bundle))
    text = f"{folder} has the base." + ("" if checkpoint is None else f" It is a derivative of SAM Materials: {LICENCE}")
    emit({"base": str(folder), "licence": "" if random else LICENCE}, as_json=as_json, text=text)


@app.command("ensemble")
def ensemble(
    members: Annotated[list[Path], typer.Argument(help="Folders of at least two trained bundles, of any networks.")],
    out: Annotated[Path, typer.Option(help="Folder of the ensemble, which is a bundle itself.")],
    weight: Annotated[list[float] | None, typer.Option(help="Weight of a member, in order; equal by default.")] = None,
    combination: Annotated[str, typer.Option(help="mean of the probabilities, or vote of the masks.")] = "mean",
    as_json: Json = False,
) -> None:
    """Make one bundle of several: its uncertainty is their disagreement. Label app, predict and MAP take it like any other.

    Example: minivess bundle ensemble runs/seed0 runs/seed1 runs/seed2 --out runs/ensemble
    """
    from minivess.ensemble import write_ensemble

    folder = write_ensemble(members, out, weights=weight, combination=combination)
    emit({"bundle": str(folder), "members": len(members)}, as_json=as_json, text=f"{folder} combines {len(members)} models.")


@app.command("merge")
def merge(
    weights: Annotated[list[Path], typer.Argument(help="At least two weights files of one network, or its trained bundles.")],
    bundle: Annotated[Path, typer.Option(help="The bundle that the merged weights are for; its model must be beaten.")],
    data: Annotated[Path, typer.Option(help="Data set whose validation cases judge: `minivess data make`.")],
    method: Annotated[str, typer.Option(help="mean, greedy (the mean of those that make it better), ties or dare.")] = "mean",
    start: Annotated[Path | None, typer.Option(help="Weights that all were trained from: ties and dare.")] = None,
    density: Annotated[float, typer.Option(help="Share of the changes that ties and dare keep.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of dare.")] = 0,
    as_json: Json = False,
) -> None:
    """Merge weights into one model. It is published only when it is better and forgets nothing; roll-back takes it back.

    Example: minivess bundle merge runs/0/model.safetensors runs/1/model.safetensors --bundle runs/model --data DATA
    """
    from minivess.ensemble.publish import merge_and_judge

    promotion = merge_and_judge(weights, bundle, data, method=method, start=start, density=density, seed=seed)
    emit(promotion.to_json(), as_json=as_json, text=_in_words(promotion))


def _in_words(promotion: Promotion) -> str:
    def scores(of: GateScores) -> str:
        return f"Dice {of.dice:.3f}, clDice {of.cldice:.3f}"

    before = f"{scores(promotion.before)} before, " if promotion.before is not None else ""
    return f"{promotion.state}: {before}{scores(promotion.scores)} merged."
