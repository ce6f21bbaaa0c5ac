"""The contract of segmenters, over every bundle that is shipped and one that is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from geometries import geometries
from safetensors.torch import load_file, save_file
from small_bundles import BUNDLES, network_of, shipped, small_bundle

from minivess.datasets import read_dataset
from minivess.errors import InputError, WeightsError
from minivess.models import (
    BundleSegmenter,
    Click,
    Segmenter,
    check_bundle,
    load_bundle,
    read_metadata,
    save_weights,
    weights_path,
)
from minivess.models.weights import TENSORS_KEY
from minivess.train import train_bundle
from minivess.volume import Box, Volume, reorient

SHAPE = (40, 36, 6)


def stack(affine: np.ndarray | None = None) -> Volume:
    rng = np.random.default_rng(0)
    array = rng.gamma(2.0, 200.0, SHAPE).astype(np.uint16)
    array[18:22, :, 2:4] += 2000
    return Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]) if affine is None else affine, "um")


def foreign(folder: Path) -> Path:
    """A bundle of somebody else: another network, another voxel size, no code."""
    bundle = small_bundle(BUNDLES / "segresnet", folder, weights=False)
    for name in ("train", "inference"):
        file = bundle / "configs" / f"{name}.yaml"
        config = yaml.safe_load(file.read_text())
        config["network_def"] = {
            "_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 1,
            "channels": [4, 8], "strides": [[2, 2, 1]],
        }  # fmt: skip
        config["spacing_um"] = [2.0, 2.0, 5.0]
        to_spacing = {"_target_": "minivess.models.transforms.ToSpacingd", "keys": ["image"], "spacing_um": "@spacing_um"}
        if name == "inference":
            config["preprocessing"]["transforms"].append(to_spacing)
            back = {"_target_": "minivess.models.transforms.BackToGridd", "keys": ["pred"], "spacing_um": "@spacing_um"}
            config["postprocessing"]["transforms"].insert(1, back)
        else:
            both = {**to_spacing, "keys": ["image", "label"], "label_keys": ["label"]}
            config["train"]["preprocessing"]["transforms"].insert(2, both)
            config["validate"]["preprocessing"]["transforms"].append(both)
        file.write_text(yaml.safe_dump(config, sort_keys=False))
    save_weights(network_of(bundle), weights_path(bundle), {})
    return bundle


@pytest.fixture(scope="module", params=[*shipped(), "foreign"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("every") / request.param
    return foreign(folder) if request.param == "foreign" else small_bundle(BUNDLES / request.param, folder)


@pytest.fixture(scope="module")
def segmenter(small: Path) -> Segmenter:
    return load_bundle(small, device="cpu")


def test_it_is_only_data(small: Path) -> None:
    assert "configs/train.yaml" in check_bundle(small)


@pytest.mark.parametrize("name", geometries())
def test_a_prediction_lies_on_the_inputs_grid(segmenter: Segmenter, name: str) -> None:
    volume = stack(geometries()[name])
    prediction = segmenter.predict(volume)
    assert prediction.probability.same_grid(volume)
    assert prediction.mask.same_grid(volume)
    assert prediction.probability.array.dtype == np.float32
    assert 0 <= prediction.probability.array.min() <= prediction.probability.array.max() <= 1
    assert np.ptp(prediction.probability.array) > 0


def test_the_same_volume_gives_the_same_prediction(small: Path, segmenter: Segmenter) -> None:
    a, b = segmenter.predict(stack()), load_bundle(small, device="cpu").predict(stack())
    assert np.array_equal(a.probability.array, b.probability.array)
    assert a.model == b.model
    assert len(a.model.weights_sha256) == 64


def test_a_box_is_predicted_alone(segmenter: Segmenter) -> None:
    probability = segmenter.predict(stack(), roi=(8, 40, 4, 36, 0, 6)).probability.array
    assert probability[8:40, 4:36].any()
    assert not probability[:8].any()
    assert not probability[:, :4].any()


@pytest.mark.parametrize("shape", [(1, 9, 5), (33, 16, 1)])
def test_any_shape_is_predicted(segmenter: Segmenter, shape: tuple[int, int, int]) -> None:
    array = np.random.default_rng(1).integers(0, 4000, shape).astype(np.uint16)
    assert segmenter.predict(Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "um")).mask.shape == shape


def test_progress_ends_at_one_and_can_cancel(segmenter: Segmenter) -> None:
    seen: list[float] = []
    segmenter.predict(stack(), progress=seen.append)
    assert seen[-1] == 1.0

    def cancel(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmenter.predict(stack(), progress=cancel)


def test_clicks_segment_one_object_or_are_refused(segmenter: Segmenter) -> None:
    clicks = [Click((20, 10, 3)), Click((4, 30, 1), positive=False)]
    if "point" not in segmenter.capabilities.prompts:
        with pytest.raises(InputError, match=r"takes no prompts|not accepted"):
            segmenter.predict(stack(), prompts={"point": clicks})
        return
    one, other = (segmenter.predict(stack(), prompts={"point": c}).probability.array for c in (clicks, [Click((4, 30, 1))]))
    assert np.isfinite(one).all()
    assert not np.array_equal(one, other)
    tiny = Volume(np.arange(9 * 7 * 3, dtype=np.uint16).reshape(9, 7, 3), np.diag([1.0, 1.0, 5.0, 1.0]), "um")
    assert segmenter.predict(tiny, prompts={"point": [Click((4, 3, 1))]}).mask.shape == (9, 7, 3)
    for wrong, match in (([Click((40, 0, 0))], "outside the volume"), ([Click((1, 1, 1), positive=False)], "at least one click")):
        with pytest.raises(InputError, match=match):
            segmenter.predict(stack(), prompts={"point": wrong})
    with pytest.raises(InputError, match="not accepted"):
        segmenter.predict(stack(), prompts={"text": "vessel"})


def test_a_box_segments_one_object_or_is_refused(segmenter: Segmenter) -> None:
    flat, deep = Box(14, 30, 4, 28, 3, 4), Box(14, 30, 4, 28, 1, 5)
    if "box" not in segmenter.capabilities.prompts:
        with pytest.raises(InputError, match=r"takes no prompts|not accepted"):
            segmenter.predict(stack(), prompts={"box": flat})
        return
    for box in (flat, deep, Box(14, 30, 8, 9, 0, 6), Box(20, 21, 4, 28, 0, 6)):  # in a slice, over slices, in both side views
        probability = segmenter.predict(stack(), prompts={"box": box}).probability.array
        assert np.isfinite(probability).all()
        assert probability[box.slices].any()
        probability[box.slices] = 0
        assert not probability.any()
    turned = reorient(stack(), "SAR")
    where = reorient(stack().with_array(_filled(flat)), "SAR").array
    other = segmenter.predict(turned, prompts={"box": Box.around(where > 0)}).probability
    assert np.allclose(
        reorient(other, stack().axis_codes).array, segmenter.predict(stack(), prompts={"box": flat}).probability.array, atol=1e-5
    )
    seen: list[float] = []
    segmenter.predict(stack(), prompts={"box": deep}, progress=seen.append)
    assert len({value for value in seen if 0 < value < 1}) >= 2, "it can be stopped between slices"
    for wrong, match in ((Box(30, 41, 0, 9, 0, 1), "not inside the volume"), (Box(3, 4, 0, 9, 0, 1), "encloses nothing")):
        with pytest.raises(InputError, match=match):
            segmenter.predict(stack(), prompts={"box": wrong})


def _filled(box: Box) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[box.slices] = 1
    return array


@pytest.mark.requirement("R06")
def test_missing_or_foreign_weights_are_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No weights at"):
        load_bundle(small, weights=tmp_path / "none.safetensors")
    tensors = load_file(weights_path(small))
    metadata = {key: value for key, value in read_metadata(weights_path(small)).items() if key != TENSORS_KEY}
    file = tmp_path / "model.safetensors"
    for changed in (dict(list(tensors.items())[1:]), {**tensors, "more": torch.zeros(1)}):
        save_file(changed, file, metadata=metadata)
        with pytest.raises(WeightsError, match="made for another network"):
            load_bundle(small, weights=file)
    name = next(n for n, value in tensors.items() if value.is_floating_point())
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, file, metadata=metadata)
    with pytest.raises(WeightsError, match="NaN"):
        load_bundle(small, weights=file)


def test_a_copy_predicts_the_same(small: Path, tmp_path: Path, segmenter: BundleSegmenter) -> None:
    """As a MAP does it: everything that prediction needs is in the folder."""
    copy = Path(shutil.copytree(small, tmp_path / "copy"))
    assert np.array_equal(
        load_bundle(copy, device="cpu").predict(stack()).probability.array, segmenter.predict(stack()).probability.array
    )


def test_it_trains_and_the_result_loads(small: Path, dataset: Path, tmp_path: Path) -> None:
    cases = read_dataset(dataset)
    overrides = {"epochs": 1, "iterations_per_epoch": 2, "patch_size": [32, 32, 4], "items_per_batch": 1}
    init = weights_path(small)
    result = train_bundle(
        small,
        training=cases["training"],
        validation=cases["validation"],
        output=tmp_path,
        preset="tiny",
        init_weights=init,
        overrides=overrides,
    )
    before, after = load_file(init), load_file(result.weights)
    assert set(before) == set(after)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    load_bundle(small, weights=result.weights, device="cpu").predict(stack())


def documented() -> list[str]:
    """The examples of the how-to, by their first line."""
    text = (BUNDLES.parent / "docs" / "howto" / "add_a_model.md").read_text()
    return [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]


@pytest.mark.parametrize("example", documented(), ids=lambda text: text.split()[1].strip(","))
def test_the_networks_of_the_how_to_work_as_they_stand_there(example: str, dataset: Path, tmp_path: Path) -> None:
    """A folder of configurations is enough; nothing in the package knows it."""
    changes = yaml.safe_load(example)
    bundle = small_bundle(BUNDLES / "segresnet", tmp_path / "theirs", weights=False)
    for file in (bundle / "configs" / f"{name}.yaml" for name in ("train", "inference", "tiny")):
        config = yaml.safe_load(file.read_text())
        keys = (
            set(changes) - {"patch_size"} if file.stem == "inference" else {"patch_size"} if file.stem == "tiny" else set(changes)
        )
        file.write_text(yaml.safe_dump({**config, **{key: changes[key] for key in keys if key in changes}}, sort_keys=False))
    cases = read_dataset(dataset)
    overrides = {"epochs": 1, "iterations_per_epoch": 1, "items_per_batch": 1}
    result = train_bundle(
        bundle, training=cases["training"][:1], validation=[], output=tmp_path / "run", preset="tiny", overrides=overrides
    )
    assert load_bundle(bundle, weights=result.weights, device="cpu").predict(stack()).mask.shape == SHAPE


def test_all_recipes_are_those_of_segresnet_but_for_what_a_network_needs() -> None:
    """The bundles stand alone, as MONAI's model zoo asks; this keeps them from drifting apart."""
    own = {"network_def", "epochs", "learning_rate", "continued_learning_rate", "patch_size", "roi_size", "items_per_batch",
           "patches_per_item", "click_share", "wrong_concepts", "wrong_concept_share", "tune"}  # fmt: skip
    for workflow in ("train", "inference", "evaluate", "multi_gpu"):
        reference = yaml.safe_load((BUNDLES / "segresnet" / "configs" / f"{workflow}.yaml").read_text())
        for name in shipped():
            config = yaml.safe_load((BUNDLES / name / "configs" / f"{workflow}.yaml").read_text())
            if workflow == "train":
                prepare = config["train"]["trainer"]["prepare_batch"]
                config["train"]["trainer"]["prepare_batch"] = prepare.get("prepare", prepare)
            different = {key for key in {*reference, *config} if reference.get(key) != config.get(key)}
            assert different <= own, f"{name}/{workflow}"


def test_published_weights_are_imported_whole_or_refused(shared_data: Path, tmp_path: Path) -> None:
    from minivess.models.foreign_weights import import_weights

    bundle = small_bundle(BUNDLES / "vessap", tmp_path / "vessap", weights=False)
    arrays = shared_data / "weights" / "vessap" / "fcn_model_converted.npz"
    assert read_metadata(import_weights(arrays, bundle))["licence"].startswith("VesSAP's published weights: MIT")
    assert load_bundle(bundle, device="cpu").predict(stack()).mask.array.any()


def test_a_checkpoint_of_another_training_loop_is_imported(tmp_path: Path) -> None:
    from minivess.models.foreign_weights import import_weights

    bundle = small_bundle(BUNDLES / "vista3d", tmp_path / "vista3d", weights=False)
    network = network_of(bundle)
    inner = {f"module.{name.removeprefix('network.')}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": inner}, tmp_path / "model.pt")
    import_weights(tmp_path / "model.pt", bundle)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in load_file(weights_path(bundle)).items())
    before = weights_path(bundle).read_bytes()
    torch.save({"state_dict": dict(list(inner.items())[:-1])}, tmp_path / "less.pt")
    torch.save({"state_dict": inner, "hook": print}, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name, match in (
        ("less.pt", "Nothing is left at random"),
        ("code.pt", "tensors alone"),
        ("text.pt", "tensors alone"),
        ("none.pt", "No weights"),
    ):
        with pytest.raises(WeightsError, match=match):
            import_weights(tmp_path / name, bundle)
    assert weights_path(bundle).read_bytes() == before


@pytest.mark.parametrize("codes", ["LPS", "RSA", "SAR", "ILP"])
def test_the_order_of_the_voxels_in_the_file_does_not_matter(segmenter: Segmenter, codes: str) -> None:
    first = segmenter.predict(stack())
    other = segmenter.predict(reorient(stack(), codes))
    back = reorient(other.probability, stack().axis_codes)
    assert back.same_grid(stack())
    assert np.array_equal(back.array, first.probability.array)
    assert other.threshold == first.threshold
    box = segmenter.predict(reorient(stack(), codes), roi=(0, 6, 0, 6, 0, 6)).probability
    assert np.count_nonzero(box.array) <= 6**3


@pytest.mark.requirement("R06")
def test_a_changed_byte_of_the_weights_is_noticed(small: Path, tmp_path: Path) -> None:
    content = bytearray(weights_path(small).read_bytes())
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    for position in rng.integers(header, len(content), 10):
        changed = content.copy()
        changed[position] ^= 1
        file = tmp_path / "model.safetensors"
        file.write_bytes(changed)
        with pytest.raises(WeightsError, match=r"is damaged|NaN"):
            load_bundle(small, weights=file, device="cpu")
