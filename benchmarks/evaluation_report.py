"""The evaluation report of all segmenters on the five real two-photon stacks: every trained model by leave-one-animal-out.

    python benchmarks/evaluation_report.py --base runs/demo/model --synthetic runs/two_photon/synthetic_data --out runs/evaluation

``--base`` is a model that has learned synthetic stacks alone, as `make demo` trains it. It stands in the report as it is, and continued
on the other animals; the other networks learn them from random values (VesSAP: published weights, as they are), as in models.py.
The report has pictures of the stacks: it is not for publication where their licence does not allow that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

from models import NETWORKS, RECIPE, prepare, train_without
from two_photon import FOLD_RECIPE, FOLDS, cases, synthetic_cases

from minivess.evaluate.case_results import CaseResult, evaluate_cases
from minivess.evaluate.report import write_report
from minivess.evaluate.summary import summarise
from minivess.models import load_bundle, weights_path
from minivess.models.foreign_weights import import_weights
from minivess.paths import resource_path
from minivess.train import copy_bundle

TRAINED = ("DynUNet", "SAM 3 + LoRA, tiny random base", "VISTA-3D, width 16")
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "two_photon")
    parser.add_argument("--vessap", type=Path, default=shared / "weights" / "vessap" / "fcn_model_converted.npz")
    parser.add_argument("--base", type=Path, required=True, help="trained SegResNet bundle, on synthetic stacks alone")
    parser.add_argument("--synthetic", type=Path, required=True, help="folder of the synthetic stacks; made when it is empty")
    parser.add_argument("--network", choices=TRAINED, action="append", help="default: all")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    everything, made = cases(arguments.data), synthetic_cases(arguments.synthetic)
    vessap = prepare(arguments.out / "vessap", "VesSAP, trained")
    import_weights(arguments.vessap, vessap)
    results: list[CaseResult] = []
    for fold in FOLDS:
        bundles = {"SegResNet, synthetic only": arguments.base, "VesSAP, published weights": vessap}
        continued = copy_bundle(resource_path("bundles/segresnet"), arguments.out / f"segresnet_{fold}")
        train_without(fold, continued, everything, made, {**FOLD_RECIPE, "seed": SEED}, weights_path(arguments.base))
        bundles["SegResNet, continued"] = continued
        for name in arguments.network or TRAINED:
            bundle = bundles[name] = prepare(arguments.out / f"{name}_{fold}", name)
            train_without(fold, bundle, everything, made, {**RECIPE, **NETWORKS[name][2], "seed": SEED})
        held_out = [case for case in everything if case.subject == fold]
        results += evaluate_cases(held_out, {name: load_bundle(bundle) for name, bundle in bundles.items()}, progress=print)
        models = {name: {"version": "leave one animal out"} for name in bundles}
        write_report(arguments.out / "report", summarise(results, models=models, section="held-out animal"), results)
    print(arguments.out / "report" / "report.html")


if __name__ == "__main__":
    main()
