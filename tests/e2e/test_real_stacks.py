"""The stock client's loop on NIfTI copies of the real two-photon stacks, against MONAI Label's own server."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.conftest import copied_app, stock_launch
from contract.test_label_app import client

from minivess.models import weights_path
from minivess.server import LabelServer
from minivess.train import copy_bundle, publish
from minivess.volume import read_volume, write_volume

STACKS = {
    "poon2015_BBB_noLeakage": 0.994,
    "poon2015_BBB_Leakage": 0.994,
    "burgess2014_lowerRes_hiSNR": 1.59,
    "burgess2014_bbbDisruption": 0.994,
    "burgess2014_tgMouse": 0.994,
}

LOOP = """
import time
labelled = []
for _ in range(3):
    sample = c.next_sample('uncertainty', {})
    f, p = c.infer('segresnet', sample['id'], {})
    saved = c.save_label(sample['id'], sys.argv[1] + '/' + sample['id'] + '.nii.gz', tag='final', params={'label_info': [{'name': 'vessel', 'idx': 1}]})
    labelled.append([sample['id'], sample['reason'], p['latencies']['total'], saved['minivess']])
c.train_start('segresnet', {'max_epochs': 1})
while c.train_status()['status'] not in ('DONE', 'ERROR', 'STOPPED'):
    time.sleep(1)
status = c.train_status()
left = c.next_sample('random', {})
f, p = c.infer('segresnet', left['id'], {})
print(json.dumps({'labelled': labelled, 'train': status['status'], 'details': status['details'], 'stats': c.info()['train_stats']['segresnet'],
                  'left': left['id'], 'infer': p, 'store': c.info()['datastore']}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_loop_on_the_real_stacks(shared_data: Path, bundle: Path, tmp_path: Path) -> None:
    for name, um in STACKS.items():
        for folder, target in (("images", "studies"), ("labels", "truth")):
            source = next((shared_data / "two_photon" / folder).glob(f"{name}*.tif"))
            write_volume(read_volume(source, spacing=(um, um, 5.0), unit="um"), tmp_path / target / f"{name}.nii.gz")
    target = copy_bundle(bundle, tmp_path / "model" / "segresnet")
    publish(weights_path(bundle), target)
    launch = stock_launch(copied_app(tmp_path), tmp_path / "studies", "model_dir", str(tmp_path / "model"), "preset", "tiny")
    with LabelServer(launch, log=tmp_path / "server.log") as server:
        result = client(server, LOOP, str(tmp_path / "truth"), timeout_s=1000)
    print(result)
    assert len({row[0] for row in result["labelled"]}) == 3
    assert all(row[3]["revision"] for row in result["labelled"])
    assert result["train"] == "DONE", result["details"]
    assert result["left"] not in {row[0] for row in result["labelled"]}
    assert result["store"]["completed"] == 3
