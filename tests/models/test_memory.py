"""How much memory a prediction takes beside the network: bounded for each voxel, for every bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bundles import BUNDLES, shipped, small_bundle

#: Of the volume, its probability, mask and entropy, and what is computed from them; a network's own planes are of its window.
MOST_BYTES_A_VOXEL = 60
_PEAKS = """
import json, resource, sys
from pathlib import Path
import numpy as np
from minivess.models import load_bundle
from minivess.volume import Volume

segmenter, peaks = load_bundle(Path(sys.argv[1]), device="cpu"), []
for shape in ((96, 96, 8), (96, 96, 8), (384, 384, 24)):
    array = np.random.default_rng(0).gamma(2.0, 200.0, shape).astype(np.uint16)
    segmenter.predict(Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "um"))
    peaks.append(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(json.dumps((peaks[-1] - peaks[-2]) / (384 * 384 * 24 - 96 * 96 * 8)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_a_larger_volume_takes_memory_for_its_voxels_only(name: str, tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / name, tmp_path / name)
    done = subprocess.run([sys.executable, "-c", _PEAKS, str(bundle)], capture_output=True, text=True, check=True, timeout=540)
    assert json.loads(done.stdout.splitlines()[-1]) < MOST_BYTES_A_VOXEL
