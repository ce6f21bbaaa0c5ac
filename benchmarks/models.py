"""Leave-one-animal-out on the five real two-photon stacks for every network behind the same door, with the same short recipe.

    python benchmarks/models.py --out runs/models --synthetic runs/two_photon/synthetic_data

Every network starts from random values (SAM 3: from a tiny random base; LiteMedSAM: from its published weights, which are made for
boxes; VesSAP: also as published, without any training), learns the other
animals beside 16 synthetic stacks for a few minutes on one core, and is scored on the animal that it has not seen. So the table
compares what a few minutes teach, not what the networks can do with days on a GPU or with their released weights: of those it
says nothing. Seeds 0 and 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import torch
import yaml
from two_photon import FOLDS, REHEARSED, STACKS, WEAK, WELL_LABELLED, cases, load, pieces, synthetic_cases

from minivess.metrics import cldice, dsc
from minivess.models import base_path, load_bundle, weights_path
from minivess.models.foreign_weights import import_weights, published_weights
from minivess.models.sam3_base import random_base
from minivess.paths import resource_path
from minivess.train import copy_bundle, publish, train_bundle

MONAI = "monai.networks.nets."
#: Name -> bundle, changes of its network, and of its recipe.
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "SegResNet": ("segresnet", {}, {}),
    "DynUNet": (
        "segresnet",
        {
            "_target_": f"{MONAI}DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 1,
            "kernel_size": [[3, 3, 1], [3, 3, 3], [3, 3, 3]], "strides": [1, [2, 2, 1], [2, 2, 2]],
            "upsample_kernel_size": [[2, 2, 1], [2, 2, 2]], "filters": [16, 32, 64], "res_block": True,
        },
        {},
    ),
    "SwinUNETR": (
        "segresnet",
        {"_target_": f"{MONAI}SwinUNETR", "in_channels": 1, "out_channels": 1, "feature_size": 12, "depths": [1, 1, 1, 1]},
        {"roi_size": [64, 64, 32], "patch_size": [64, 64, 32], "items_per_batch": 2},
    ),
    "VISTA-3D, width 16": ("vista3d", {"encoder_embed_dim": 16}, {"items_per_batch": 2}),
    "SAM 3 + LoRA, tiny random base": ("sam3_lora", {"rank": 8, "trained_modules": ["mask_decoder", "detr_encoder"]}, {"items_per_batch": 2}),
    "VesSAP, trained": ("vessap", {}, {}),
    # Pictures of half the side take a quarter of the time; windows of 64 voxels keep a point of the mask for every second voxel.
    "LiteMedSAM, 128 pixels": ("litemedsam", {"picture_px": 128}, {"roi_size": [64, 64, 8], "items_per_batch": 2}),
}  # fmt: skip
RECIPE = {"epochs": 2, "iterations_per_epoch": 60, "val_interval": 2}


def prepare(out: Path, name: str) -> Path:
    source, network, recipe = NETWORKS[name]
    bundle = copy_bundle(resource_path(f"bundles/{source}"), out)
    for file in (bundle / "configs" / f"{workflow}.yaml" for workflow in ("train", "inference")):
        config = yaml.safe_load(file.read_text())
        config["network_def"] = network if "_target_" in network else {**config["network_def"], **network}
        config["roi_size"] = recipe.get("roi_size", config["roi_size"])
        if source == "litemedsam" and "overlap" in config:
            config["overlap"] = 0.125  # a third of the windows of 0.25, of a network that takes a third of a second a picture
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    if source == "litemedsam":
        import_weights(published_weights(bundle), bundle)
    if source == "sam3_lora" and not base_path(bundle).is_dir():
        random_base(base_path(bundle), image_size=224)
    return bundle


def train_without(
    fold: str, bundle: Path, everything: list[Any], made: list[Any], recipe: dict[str, Any], init: Path | None = None
) -> None:
    """Train a bundle on the other animals beside synthetic stacks, and publish it. Its one validation, at the end, chooses nothing."""
    weak = {animal: is_weak for _, animal, _, is_weak in STACKS}
    others = [case for case in everything if case.subject != fold]
    training = [case for case in others for _ in range(WEAK if weak[case.subject] else WELL_LABELLED)] + made[:REHEARSED]
    result = train_bundle(
        bundle,
        training=training,
        validation=made[:1],
        output=bundle / "run",
        preset="tiny",
        init_weights=init,
        overrides=recipe,
    )
    publish(result.weights, bundle)


def scores(name: str, seed: int | str, bundle: Path, held_out: list[Any], cpu_s: float) -> list[dict[str, Any]]:
    rows, model = [], load_bundle(bundle)
    for case in held_out:
        image, label = load(case)
        start = time.process_time()
        mask = model.predict(image).mask.array
        row = {"network": name, "seed": seed, "stack": next(n for n, *_ in STACKS if case.name.startswith(n))}
        row |= {"Dice": dsc(label.array, mask), "clDice": cldice(label.array, mask), "pieces": pieces(mask)}
        row |= {"training CPU s": round(cpu_s), "prediction CPU s": time.process_time() - start}
        row |= {"memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        rows.append(row)
        print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    return rows


def run(out: Path, name: str, everything: list[Any], made: list[Any], seeds: list[int], weights: Path) -> list[dict[str, Any]]:
    rows = []
    if name.startswith("VesSAP") and 0 in seeds:
        bundle = prepare(out / "VesSAP, published", name)
        import_weights(weights, bundle)
        rows += scores("VesSAP, published weights", "", bundle, everything, 0.0)
    for seed in seeds:
        for fold in FOLDS:
            bundle, start = prepare(out / name / f"{fold}_{seed}", name), time.process_time()
            init = weights_path(bundle) if NETWORKS[name][0] == "litemedsam" else None
            train_without(fold, bundle, everything, made, {**RECIPE, **NETWORKS[name][2], "seed": seed}, init)
            held_out = [case for case in everything if case.subject == fold]
            rows += scores(name, seed, bundle, held_out, time.process_time() - start)
            weights_path(bundle).unlink()
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | stacks x seeds | Dice | clDice | pieces, median | training CPU s | prediction CPU s | memory MB |",
        "|" + "---|" * 8,
    ]
    for name in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == name]
        dice, cl = (np.array([row[key] for row in own]) for key in ("Dice", "clDice"))
        values = [
            f"{dice.mean():.3f} ({dice.min():.2f} to {dice.max():.2f})",
            f"{cl.mean():.3f} ({cl.min():.2f} to {cl.max():.2f})",
        ]
        values += [f"{np.median([row['pieces'] for row in own]):.0f}"]
        values += [f"{np.mean([row[key] for row in own]):.0f}" for key in ("training CPU s", "prediction CPU s")]
        lines.append(f"| {name} | {len(own)} | " + " | ".join(values) + f" | {max(row.get('memory MB', 0) for row in own)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "two_photon")
    parser.add_argument("--vessap", type=Path, default=shared / "weights" / "vessap" / "fcn_model_converted.npz")
    parser.add_argument("--synthetic", type=Path, help="folder of the synthetic stacks; made when it is empty")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--bfloat16", action="store_true", help="half the time of a transformer, where the CPU computes in it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--table", type=Path, nargs="+", help="only print the table of these files")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for file in arguments.table for line in file.read_text().splitlines()]))
        return
    if not (arguments.out and arguments.synthetic):
        parser.error("--out and --synthetic are needed, or --table")
    everything, made = cases(arguments.data), synthetic_cases(arguments.synthetic)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.network or NETWORKS:
        # Without a cache of casts: around a whole training it would keep the first weights.
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16, cache_enabled=False):
            rows = run(arguments.out, name, everything, made, arguments.seeds, arguments.vessap)
        with (arguments.out / "rows.jsonl").open("a") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
