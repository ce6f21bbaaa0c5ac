"""Peak memory of predicting a large volume, by slabs as `minivess predict` does it and in one piece, each in a fresh process.

python benchmarks/predict_memory.py                       # 1024 x 1024 x 128, about ten minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from minivess.process_setup import prepare_process

prepare_process()

WAYS = ("slabs", "one piece")


def measure(shape: tuple[int, int, int], way: str) -> dict[str, float]:
    import numpy as np
    import torch
    from monai.bundle import ConfigParser

    from minivess.models import BundleSegmenter, Capabilities, ModelRef, binary_entropy
    from minivess.models.normalise import fit_scaling
    from minivess.models.sliding import sliding_probability
    from minivess.paths import resource_path

    parser = ConfigParser()
    parser.read_config(str(resource_path("bundles/segresnet") / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    network, inferer = (parser.get_parsed_content(key) for key in ("network_def", "inferer"))
    capabilities, model = Capabilities(frozenset(), ("vessel",), "two_photon"), ModelRef("random", "0", "0")
    BundleSegmenter(network, inferer, capabilities=capabilities, model=model, threshold=0.5, device=torch.device("cpu"))
    idle = peak_gib()
    rng = np.random.default_rng(0)
    array = np.empty(shape, np.uint16)
    for plane in array:
        plane[:] = rng.gamma(2.0, 200.0, plane.shape)
    start = time.monotonic()
    scaling = fit_scaling(array, "two_photon")
    if way == "slabs":
        probability = sliding_probability(network, array, scaling, inferer, device=torch.device("cpu"))
    else:
        with torch.inference_mode():
            window = torch.from_numpy(scaling.apply(array))[None, None]
            probability = torch.sigmoid(inferer(window, network))[0, 0].numpy()
    binary_entropy(probability)
    return {"idle GiB": idle, "peak GiB": peak_gib(), "seconds": time.monotonic() - start}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(1024, 1024, 128))
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--child", choices=WAYS)
    arguments = parser.parse_args()
    x, y, z = arguments.shape
    if arguments.child is not None:
        print(json.dumps(measure((x, y, z), arguments.child)))
        return
    results = {}
    for name in WAYS:
        if arguments.only in (None, name):
            command = [sys.executable, __file__, "--shape", *map(str, (x, y, z)), "--child", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, {k: round(v, 2) for k, v in results[name].items()}, flush=True)
    arrays = x * y * z * (2 + 4 + 4) / 2**30
    print(f"of which the image (uint16), the probability and the entropy (float32): {arrays:.2f} GiB")
    if len(results) == 2:
        for key in ("peak GiB", "seconds"):
            print(f"{key}, one piece / slabs: {results['one piece'][key] / results['slabs'][key]:.2f}")


if __name__ == "__main__":
    main()
