"""The stack of the tutorial: registered in Sample Data, taken from there, sent to the server, reviewed."""

from __future__ import annotations

import hashlib
import sys
import types
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from MinIVessReviewLib.mask_scene import read_volume
from running import Lab
from steps import connect, reply


class SampleDataLogic:
    """Takes what Slicer's takes, and fetches as it does: by the address, then the checksum."""

    sources: list[dict[str, Any]]

    @classmethod
    def registerCustomSampleDataSource(
        cls, category: str, sampleName: str, uris: str, fileNames: str, nodeNames: str, loadFileType: str, checksums: str,
        thumbnailFileName: str,
    ) -> None:  # fmt: skip
        cls.sources.append(dict(locals()))


@pytest.fixture
def sample_data() -> Iterator[type[SampleDataLogic]]:
    SampleDataLogic.sources = []
    sys.modules["SampleData"] = types.ModuleType("SampleData")
    sys.modules["SampleData"].SampleDataLogic = SampleDataLogic
    yield SampleDataLogic
    del sys.modules["SampleData"]


def test_the_sample_is_taken_from_sample_data_sent_and_reviewed(
    sample_data: type[SampleDataLogic], widget: Any, lab: Lab, pump: Callable[..., int], tmp_path: Path
) -> None:
    slicer.app.started()
    source = sample_data.sources[-1]
    assert Path(source["thumbnailFileName"]).read_bytes().startswith(b"\x89PNG")
    file, _headers = urllib.request.urlretrieve(source["uris"], tmp_path / source["fileNames"])
    assert "SHA256:" + hashlib.sha256(Path(file).read_bytes()).hexdigest() == source["checksums"]
    node = read_volume(file, source["nodeNames"])
    np.testing.assert_allclose(node.GetSpacing()[2] / node.GetSpacing()[0], 5.0, rtol=0.05)
    assert "Connect to a server first" in reply(widget, "add_image", pump)
    connect(widget, lab, pump)
    assert "Load a volume" in reply(widget, "add_image", pump)
    slicer.util.setSliceViewerLayers(background=node)
    said = reply(widget, "add_image", pump, 120)
    assert widget.session.image.name == "MinIVessSynthetic", said
    assert widget.session.image.item is not None
    original = slicer.util.arrayFromVolume(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(widget.session.image.scene.image), original)
    assert "Load a volume" in reply(widget, "add_image", pump), "the server has it already"
