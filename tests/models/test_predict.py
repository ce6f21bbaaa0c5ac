from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNetDS
from safetensors.torch import load_file, save_file
from scipy.special import entr
from untrained import begin_as_threshold

from minivess.errors import InputError, WeightsError
from minivess.models import MODALITIES, BundleSegmenter, binary_entropy, load_bundle, read_metadata, weights_path
from minivess.models.normalise import fit_scaling
from minivess.models.segmenter import check_roi
from minivess.models.sliding import sliding_probability
from minivess.synth import make_sample
from minivess.volume import Box, Volume, read_volume


def stack(shape: tuple[int, int, int] = (64, 56, 7), dtype: str = "uint16") -> Volume:
    rng = np.random.default_rng(0)
    array = rng.gamma(2.0, 200.0, shape).astype(dtype)
    return Volume(array, np.array([[-1.0, 0, 0, 9], [0, 1, 0, -4], [0, 0, 5, 2], [0, 0, 0, 1]]), "um")


@pytest.fixture(scope="module")
def segmenter(bundle: Path) -> BundleSegmenter:
    return load_bundle(bundle, device="cpu")


def test_a_prediction_lies_on_the_inputs_grid(segmenter: BundleSegmenter) -> None:
    volume = stack()
    prediction = segmenter.predict(volume)
    for result in (prediction.probability, prediction.uncertainty, prediction.mask):
        assert result.same_grid(volume)
    assert prediction.probability.array.dtype == np.float32
    assert 0 <= prediction.probability.array.min() <= prediction.probability.array.max() <= 1
    assert prediction.uncertainty.array.max() <= np.log(2) + 1e-6
    assert set(np.unique(prediction.mask.array)) <= {0, 1}
    assert len(prediction.model.weights_sha256) == 64


def test_the_same_volume_gives_the_same_prediction(segmenter: BundleSegmenter) -> None:
    a, b = (segmenter.predict(stack()).probability.array for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 40, 9), (200, 16, 1), (17, 19, 23)])
def test_any_shape_is_predicted(segmenter: BundleSegmenter, shape: tuple[int, int, int]) -> None:
    assert segmenter.predict(stack(shape)).mask.shape == shape


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "bool"])
def test_any_dtype_is_predicted(segmenter: BundleSegmenter, dtype: str) -> None:
    assert np.isfinite(segmenter.predict(stack((32, 32, 8), dtype)).probability.array).all()


def test_a_constant_volume_is_predicted_without_a_warning(segmenter: BundleSegmenter) -> None:
    constant = stack().with_array(np.full(stack().shape, 7, np.uint8))
    assert np.isfinite(segmenter.predict(constant).probability.array).all()


def test_a_box_is_predicted_alone_and_swapped_ends_are_sorted(segmenter: BundleSegmenter) -> None:
    volume = stack()
    inside = segmenter.predict(volume, roi=(40, 8, 0, 32, 0, 7)).probability.array
    assert inside[8:40, 0:32].min() > 0
    assert not inside[40:].any()
    assert not inside[:, 32:].any()
    for roi in ((0, 65, 0, 8, 0, 7), (5, 5, 0, 8, 0, 7), (-1, 5, 0, 8, 0, 7)):
        with pytest.raises(InputError, match=r"roi .* not inside the volume"):
            segmenter.predict(volume, roi=roi)
    for roi in ((0, 5, 0, 8), (0, 5, 0, 8, 0, "z")):
        with pytest.raises(InputError, match="six integers"):
            segmenter.predict(volume, roi=roi)
    assert check_roi([40, 8, 0, 32, 0, 7], volume.shape) == Box(8, 40, 0, 32, 0, 7)


def test_prompts_are_refused_by_a_model_that_takes_none(segmenter: BundleSegmenter) -> None:
    with pytest.raises(InputError, match="takes no prompts"):
        segmenter.predict(stack(), prompts={"point": [[1, 2, 3]]})


@pytest.mark.row(129)
def test_measuring_the_intensities_can_be_cancelled() -> None:
    def cancel() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_scaling(stack().array, "two_photon", check=cancel)


def test_progress_ends_at_one_and_can_cancel(segmenter: BundleSegmenter) -> None:
    seen: list[float] = []
    segmenter.predict(stack(), progress=seen.append)
    assert seen[-1] == 1.0

    def cancel(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmenter.predict(stack(), progress=cancel)


@pytest.mark.parametrize("shape", [(150, 20, 6), (20, 150, 6), (12, 9, 40), (10, 10, 3)])
def test_slabs_give_what_the_inferer_gives_in_one_piece(shape: tuple[int, int, int]) -> None:
    from monai.inferers import SlidingWindowInferer

    array = stack(shape).array
    scaling = fit_scaling(array, "two_photon")
    # Not mode="gaussian": there MONAI lifts the small weights in a window's corners, and the two blend a little differently.
    inferer = SlidingWindowInferer((16, 16, 4), sw_batch_size=4, overlap=0.25, mode="constant", padding_mode="replicate")
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 1, 3, padding=1)  # zero padding: windows differ at their edges, so blending matters
    shares: list[float] = []
    ours = sliding_probability(network, array, scaling, inferer, device=torch.device("cpu"), progress=shares.append)
    with torch.inference_mode():
        theirs = torch.sigmoid(inferer(torch.from_numpy(scaling.apply(array))[None, None], network))[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-5
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("modality", sorted(MODALITIES.keys() - {"ct_angiography"}))
def test_scaling_does_not_depend_on_gain_or_pedestal_and_survives_odd_volumes(modality: str) -> None:
    array = stack((40, 33, 5)).array
    reference = fit_scaling(array, modality).apply(array)
    for other in (array / array.max(), array * 3.0, array + 4000, array.astype(np.int32) - 900):
        assert np.abs(fit_scaling(other, modality).apply(other) - reference).max() < 0.1
    for odd in (np.zeros((9, 9, 3)), np.full((9, 9, 1), -5.0), np.eye(9)[:, :, None]):
        assert np.isfinite(fit_scaling(odd, modality).apply(odd)).all()


@pytest.mark.parametrize("modality", sorted(MODALITIES.keys() - {"ct_angiography"}))  # Hounsfield units have no other gain
@pytest.mark.parametrize("brightest", [90, 255])
def test_a_network_sees_in_use_what_it_saw_in_training_whatever_the_dtype(modality: str, brightest: int) -> None:
    counts = np.random.default_rng(0).integers(3, brightest, (64, 48, 6)).astype(np.uint8)
    scaled = [fit_scaling(a, modality).apply(a) for a in (counts, counts.astype(np.float32), counts.astype(np.uint16) * 16)]
    np.testing.assert_allclose(scaled[1], scaled[0], atol=1e-4)
    np.testing.assert_allclose(scaled[2], scaled[0], atol=1e-3)


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(InputError, match="Allowed: two_photon"):
        fit_scaling(np.zeros((2, 2, 2)), "x-ray")


def test_binary_entropy__by_hand() -> None:
    p = np.array([[[0.0, 0.5, 1.0, 0.9]]], np.float32)
    expected = [0, np.log(2), 0, -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))]
    assert binary_entropy(p)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_binary_entropy__is_that_of_scipy() -> None:
    p = np.random.default_rng(0).beta(0.3, 1.5, (40, 30, 20)).astype(np.float32)
    p[0, 0, :2] = 0, 1
    entropy = binary_entropy(p)
    assert entropy.dtype == np.float32
    np.testing.assert_allclose(entropy, entr(p) + entr(1 - p), atol=2e-7)
    assert np.isfinite(binary_entropy(np.full((1, 1), np.nextafter(np.float32(1), np.float32(2))))).all()  # rounding of a mean


def test_an_unknown_device_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"no device 'cuda:99'.*Allowed: auto, cpu"):
        load_bundle(bundle, device="cuda:99")


def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_missing_weights_are_never_random_ones(segresnet: Path) -> None:
    with pytest.raises(WeightsError, match="Train the bundle first"):
        load_bundle(segresnet, weights=segresnet / "models" / "absent.safetensors")


class _Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("SENTINEL"),))


def test_a_pickle_is_never_opened(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = copied(bundle, tmp_path)
    weights_path(copy).write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(WeightsError, match="never opened"):
        load_bundle(copy)
    assert not (tmp_path / "SENTINEL").exists()


def test_weights_of_another_network_are_refused_with_the_differences(bundle: Path, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    tensors = load_file(weights_path(copy))
    first, second = sorted(tensors)[:2]
    tensors["stranger"] = tensors.pop(first)
    tensors[second] = torch.zeros(3)
    save_file(tensors, weights_path(copy))
    with pytest.raises(WeightsError, match="3 differences"):
        load_bundle(copy)


@pytest.mark.requirement("R06")
def test_weights_with_nan_are_refused(bundle: Path, tmp_path: Path) -> None:
    copy = copied(bundle, tmp_path)
    tensors = load_file(weights_path(copy))
    name = sorted(tensors)[0]
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_file(tensors, weights_path(copy))
    with pytest.raises(WeightsError, match="NaN or infinity"):
        load_bundle(copy)


def test_read_metadata__is_what_was_saved_with_the_weights(bundle: Path) -> None:
    metadata = read_metadata(weights_path(bundle))
    assert len(metadata.pop("tensors_sha256")) == 64
    assert metadata == {"made_by": "untrained_bundle", "threshold": "1"}


def test_real_angiograms_go_through(shared_data: Path, segmenter: BundleSegmenter) -> None:
    for name in ("AVM_cta", "MR_Gd"):
        volume = read_volume(shared_data / "angio" / f"{name}.nii.gz")
        box = tuple(v for n in volume.shape for v in (n // 2 - 20, n // 2 + 20))
        prediction = segmenter.predict(volume, roi=box)
        assert prediction.mask.same_grid(volume)
        assert np.isfinite(prediction.probability.array).all()


def test_an_untrained_network_is_a_threshold_on_contrast_and_learns_all_its_weights() -> None:
    network = SegResNetDS(init_filters=8, out_channels=1, upsample_mode="nontrainable", resolution=(1, 1, 5))
    begin_as_threshold(network, 1.0)
    x = torch.randn(1, 1, 16, 16, 8)
    assert torch.allclose(network.eval()(x), 4.0 * (x - 1.0), atol=1e-5)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (network.train()(x) - x.abs()).square().mean().backward()
        optimizer.step()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters() if weight.ndim > 1)


def test_a_box_is_predicted_as_it_is_in_the_whole_volume(bundle: Path) -> None:
    image = make_sample("randomised", 1, shape=(160, 160, 12), spacing=(1.0, 1.0, 3.0)).image
    segmenter = load_bundle(bundle, device="cpu")
    whole = segmenter.predict(image).probability.array
    for x0, x1, y0, y1, z0, z1 in ((60, 92, 60, 92, 3, 9), (100, 120, 10, 30, 5, 8)):
        box = segmenter.predict(image, roi=(x0, x1, y0, y1, z0, z1)).probability.array
        inside = (slice(x0, x1), slice(y0, y1), slice(z0, z1))
        assert np.abs(box[inside] - whole[inside]).mean() < 0.02
        assert box[inside].any()
        box[inside] = 0
        assert not box.any()
