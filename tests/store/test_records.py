"""The JSON forms of regions and of what is recorded with a revision."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.conftest import regions_of

from minivess.store import Region, RevisionInfo
from minivess.store.records import SegCopy
from minivess.store.region import RegionKind
from minivess.volume import Box

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)
REGIONS = st.builds(
    Region,
    centre_ras=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    box=st.builds(Box, *[st.integers(0, 4096)] * 6),
    box_ras=st.tuples(*[NUMBERS] * 6),
    kind=st.sampled_from(get_args(RegionKind)),
    expected_errors=NUMBERS,
    expected_voxels=NUMBERS,
    cost_s=NUMBERS,
    reason=st.text(max_size=20),
)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | st.text(max_size=8)
KEYS = st.text(max_size=8)
INFOS = st.builds(
    RevisionInfo,
    voxels=st.dictionaries(KEYS, st.integers(0, 10**9), max_size=3),
    changes=st.lists(st.text(max_size=12), max_size=3).map(tuple),
    params=st.dictionaries(KEYS, PLAIN | st.lists(PLAIN, max_size=2), max_size=3),
    imported=st.booleans(),
    restored_from=st.none() | st.integers(1, 10**6),
    dicom=st.none() | st.builds(SegCopy, revision=st.integers(1, 10**6), sop_instance_uid=st.from_regex(r"\A1\.2\.[0-9]{1,9}\Z")),
    other=st.dictionaries(st.sampled_from(["client", "note", "model"]), PLAIN, max_size=3),
)


@given(REGIONS)
def test_region__json_round_trip(region: Region) -> None:
    assert Region.from_json(json.loads(json.dumps(region.to_json()))) == region


def test_region__from_json_ignores_other_keys_and_refuses_missing_ones() -> None:
    (region,) = regions_of(2.0)
    values = region.to_json()
    assert Region.from_json({**values, "model": "x", "later": 1}) == region
    for key in values:
        with pytest.raises(KeyError, match=key):
            Region.from_json({name: value for name, value in values.items() if name != key})
    with pytest.raises(ValueError, match="six integers"):
        Region.from_json({**values, "box": [0, 4, 0, 4]})
    with pytest.raises(TypeError):
        Region.from_json({**values, "cost_s": None})


@given(INFOS)
def test_revision_info__json_round_trip(info: RevisionInfo) -> None:
    assert RevisionInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_revision_info__json_omits_fields_that_are_not_set() -> None:
    assert RevisionInfo().to_json() == {"voxels": {}, "changes": []}
    assert RevisionInfo.from_json({}) == RevisionInfo()


def test_revision_info__a_restored_copy_does_not_count_as_sent_to_the_dicom_server() -> None:
    sent = RevisionInfo(voxels={"vessel": 7}, dicom=SegCopy(3, "1.2.3"))
    restored = sent.restored(3)
    assert restored.restored_from == 3
    assert restored.dicom == SegCopy(3, "1.2.3")  # the new revision has another number
    assert restored.voxels == sent.voxels
