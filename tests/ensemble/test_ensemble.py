"""An ensemble of different networks is one bundle; merged weights pass the gate or are not published."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_bundles import BUNDLES, network_of, small_bundle

from minivess.cli.main import run
from minivess.datasets import TrainingCase, make_dataset, read_dataset
from minivess.ensemble import METHODS, merge_weights, write_ensemble
from minivess.ensemble.greedy_soup import choose_ingredients
from minivess.ensemble.publish import _halves
from minivess.errors import BundleError, InputError, WeightsError
from minivess.models import binary_entropy, check_bundle, load_bundle, read_metadata, save_weights, weights_path
from minivess.models.foreign_weights import import_weights
from minivess.models.weights import read_weights, write_weights
from minivess.train import copy_bundle, train_bundle
from minivess.volume import Volume, read_volume, write_volume


def stack() -> Volume:
    array = np.random.default_rng(0).gamma(2.0, 200.0, (40, 36, 6)).astype(np.uint16)
    array[18:22, :, 2:4] += 2000
    return Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "um")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    return [small_bundle(BUNDLES / name, folder / name) for name in ("segresnet", "vessap", "sam3_lora")]


@pytest.fixture(scope="module")
def ensemble(members: list[Path]) -> Path:
    return write_ensemble(members, members[0].parent / "ensemble", weights=[1, 2, 1])


def test_an_ensemble_is_the_weighted_mean_and_its_uncertainty_the_disagreement(members: list[Path], ensemble: Path) -> None:
    from minivess.models.small_pieces import suppress_small_pieces

    prediction = load_bundle(ensemble, device="cpu").predict(stack())
    passes = [load_bundle(member, device="cpu").predict(stack()).probability.array for member in members]
    mean = np.average(passes, axis=0, weights=[1, 2, 1]).astype(np.float32)
    within = np.average([binary_entropy(p) for p in passes], axis=0, weights=[1, 2, 1])
    np.testing.assert_allclose(prediction.uncertainty.array, np.maximum(binary_entropy(mean) - within, 0), atol=1e-5)
    np.testing.assert_allclose(prediction.probability.array, suppress_small_pieces(mean.copy(), 40), atol=1e-5)
    assert prediction.probability.same_grid(stack())
    assert prediction.model.bundle == "ensemble_vessel"


def test_a_vote_counts_masks(members: list[Path], tmp_path: Path) -> None:
    prediction = load_bundle(write_ensemble(members, tmp_path / "vote", combination="vote"), device="cpu").predict(stack())
    masks = [load_bundle(member, device="cpu").predict(stack()).mask.array for member in members]
    np.testing.assert_allclose(prediction.probability.array, np.mean(masks, axis=0), atol=1e-5)
    assert not (prediction.mask.array > (np.sum(masks, axis=0) >= 2)).any()


def test_an_ensemble_is_a_bundle_that_can_be_copied_and_checked(ensemble: Path, tmp_path: Path) -> None:
    assert "configs/inference.yaml" in check_bundle(ensemble)
    a = load_bundle(ensemble, device="cpu").predict(stack(), roi=(0, 20, 0, 36, 0, 6))
    copy = Path(shutil.copytree(ensemble, tmp_path / "copied"))
    b = load_bundle(copy, device="cpu").predict(stack(), roi=(20, 0, 0, 36, 0, 6))
    assert np.array_equal(a.probability.array, b.probability.array)
    assert not a.probability.array[20:].any()
    configured = copy_bundle(ensemble, tmp_path / "workspace")
    shutil.copytree(ensemble / "models", configured / "models")
    assert load_bundle(configured, device="cpu").model == load_bundle(ensemble, device="cpu").model
    with pytest.raises(BundleError, match=r"no configs/train.yaml"):
        train_bundle(ensemble, training=[], validation=[], output=tmp_path)
    with pytest.raises(InputError, match="takes no prompts"):
        load_bundle(ensemble).predict(stack(), prompts={"point": []} | {"text": "vessel"})


def test_progress_rises_over_all_members_and_can_cancel(ensemble: Path) -> None:
    seen: list[float] = []
    load_bundle(ensemble, device="cpu").predict(stack(), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)

    def cancel(share: float) -> None:
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        load_bundle(ensemble, device="cpu").predict(stack(), progress=cancel)


def test_a_member_that_changed_or_holds_code_is_refused(ensemble: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ensemble, tmp_path / "copy"))
    member = copy / "members" / "2_vessap_vessel"
    save_weights(network_of(member, seed=7), weights_path(member), {})
    with pytest.raises(WeightsError, match="made of other weights of 2_vessap_vessel"):
        load_bundle(copy)
    (member / "scripts").mkdir()
    with pytest.raises(BundleError, match=r"(?s)members/2_vessap_vessel: .*a bundle is data"):
        load_bundle(copy)


def test_what_makes_no_ensemble_is_refused_and_leaves_nothing(members: list[Path], ensemble: Path, tmp_path: Path) -> None:
    for wrong, keywords in (
        (members[:1], {}),
        (members, {"weights": [1]}),
        (members, {"weights": [1, -1, 1]}),
        (members, {"combination": "max"}),
    ):
        with pytest.raises(InputError):
            write_ensemble(wrong, tmp_path / "new", **keywords)
    untrained = small_bundle(BUNDLES / "vessap", tmp_path / "untrained", weights=False)
    with pytest.raises(WeightsError, match="No weights at"):
        write_ensemble([members[0], untrained], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="exists"):
        write_ensemble(members, ensemble)


def test_an_ensemble_predicts_from_the_command_line(ensemble: Path, tmp_path: Path) -> None:
    write_volume(stack(), tmp_path / "stack.nii.gz")
    assert run(["predict", str(tmp_path / "stack.nii.gz"), "--bundle", str(ensemble), "--out", str(tmp_path / "out")]) == 0
    masks = list((tmp_path / "out").rglob("*.nii.gz"))
    assert any(read_volume(mask).same_grid(stack()) for mask in masks)


def two(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{name}.safetensors" for name in "ab"]
    rng = torch.Generator().manual_seed(0)
    for file in files:
        adapter = {
            "layer.lora_A.weight": torch.randn(4, 8, generator=rng),
            "layer.lora_B.weight": torch.randn(8, 4, generator=rng),
        }
        save_file({**adapter, "seen": torch.tensor(3)}, file, metadata={"val_dice": "0.5"})
    return files


@pytest.mark.parametrize("method", METHODS)
def test_two_adapters_are_merged(tmp_path: Path, method: str) -> None:
    files = two(tmp_path)
    merged = load_file(merge_weights(files, tmp_path / "merged.safetensors", method=method, density=0.5))
    again = load_file(merge_weights(files, tmp_path / "again.safetensors", method=method, density=0.5))
    a, b = (load_file(file) for file in files)
    assert set(merged) == set(a)
    assert all(torch.equal(merged[name], again[name]) for name in merged)
    name = "layer.lora_A.weight"
    if method == "mean":
        assert torch.allclose(merged[name], (a[name] + b[name]) / 2)
    else:
        assert not torch.equal(merged[name], a[name])
        assert (merged[name] == 0).any()  # density leaves changes out
    assert read_metadata(tmp_path / "merged.safetensors")["merged_by"] == method


def test_one_adapter_merged_with_itself_is_itself(tmp_path: Path) -> None:
    file = two(tmp_path)[0]
    for method in ("mean", "ties"):
        merged = load_file(merge_weights([file, file], tmp_path / "same.safetensors", method=method, density=1.0))
        assert torch.allclose(merged["layer.lora_A.weight"], load_file(file)["layer.lora_A.weight"], atol=1e-6)


def test_a_merge_of_other_networks_or_settings_is_refused(tmp_path: Path) -> None:
    files = two(tmp_path)
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="belong to two networks"):
        merge_weights([files[0], tmp_path / "other.safetensors"], tmp_path / "x.safetensors")
    for keywords in ({"method": "slerp"}, {"density": 0.0}, {"weights": [1.0]}):
        with pytest.raises(InputError, match="A merge takes"):
            merge_weights(files, tmp_path / "x.safetensors", **keywords)
    full = [tmp_path / f"full{i}.safetensors" for i in range(2)]
    for file in full:
        save_file({"conv.weight": torch.ones(3)}, file)
    with pytest.raises(InputError, match="name the weights that all files were trained from"):
        merge_weights(full, tmp_path / "x.safetensors", method="ties")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_greedy_soup_takes_what_makes_it_better_and_leaves_out_what_cannot_predict(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("far", "near", "other_side", "broken")]
    for file, value in zip(files, (9.0, 2.0, -1.0, float("nan")), strict=True):
        save_file({"w": torch.tensor([value])}, file)

    def score(file: Path) -> float:
        (value,) = load_file(file)["w"].tolist()
        if value != value:
            raise WeightsError("NaN")
        return -abs(value)  # best at 0: other_side, then near (mean 0.5), then far (mean 3.3: worse)

    assert [file.stem for file in choose_ingredients(files, score, tmp_path)] == ["other_side", "near"]
    with pytest.raises(WeightsError, match="None of these weights can predict"):
        choose_ingredients(files[3:], score, tmp_path)


def test_a_greedy_soup_passes_the_gate_like_any_merge(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    published = weights_path(copy)
    broken = tmp_path / "broken.safetensors"
    save_file({name: -value for name, value in load_file(published).items()}, broken)
    weights_path(copy).rename(good := tmp_path / "good.safetensors")  # nothing is published: the soup is
    data = Path(shutil.copytree(dataset, tmp_path / "data"))
    make_dataset(data, validation=["stack2", "stack3"], replace=True)
    words = ["bundle", "merge", str(broken), str(good), "--bundle", str(copy), "--data", str(data), "--method", "greedy"]
    assert run([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["candidate"] == "mean of 1 of 2, chosen one by one"
    assert published.read_bytes() == good.read_bytes()


def test_a_merge_is_not_judged_on_what_an_ingredient_has_learned(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    subject = read_dataset(dataset)["validation"][0].subject
    tensors, metadata = read_weights(weights_path(bundle))
    learned = tmp_path / "learned.safetensors"
    write_weights(tensors, learned, {**metadata, "training_subjects": json.dumps([subject]), "held_out_subjects": "[]"})
    words = ["bundle", "merge", str(learned), str(weights_path(bundle)), "--bundle", str(copy), "--data", str(dataset)]
    assert run(words) == 1
    assert f"learned.safetensors has learned {subject}" in capsys.readouterr().err
    assert run([*words[:4], "--bundle", str(tmp_path / "nowhere"), "--data", str(dataset)]) == 1
    assert "is no bundle" in capsys.readouterr().err


@pytest.mark.parametrize("weight", ["inf", "nan", "0"])
def test_an_ensemble_has_finite_weights(members: list[Path], tmp_path: Path, weight: str) -> None:
    with pytest.raises(InputError, match="positive weights"):
        write_ensemble(members[:2], tmp_path / "ensemble", weights=[float(weight), 1])
    assert not (tmp_path / "ensemble").exists()


def test_published_weights_with_values_that_are_no_numbers_are_not_imported(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    tensors = load_file(weights_path(copy))
    name = next(name for name, value in tensors.items() if value.is_floating_point())
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, tmp_path / "broken.safetensors")
    before = weights_path(copy).read_bytes()
    with pytest.raises(WeightsError, match="no finite numbers"):
        import_weights(tmp_path / "broken.safetensors", copy)
    assert weights_path(copy).read_bytes() == before


@pytest.mark.parametrize("turned", [".weight", ""], ids=["the signs of the weights", "all signs, so that it returns NaN"])
def test_a_bad_merge_is_not_published(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], turned: str
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    before = weights_path(copy).read_bytes()
    broken = [tmp_path / f"broken{seed}.safetensors" for seed in range(2)]
    for seed, file in enumerate(broken):
        save_weights(network_of(copy, seed=seed + 5), file, {})
        tensors = load_file(file)
        save_file({name: -value if name.endswith(turned) else value for name, value in tensors.items()}, file)
    words = ["bundle", "merge", *map(str, broken), "--bundle", str(copy), "--data", str(dataset), "--json"]
    assert run(words) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["state"].startswith("kept the published model")
    assert ("cannot predict" in content["state"]) == (not turned)
    assert weights_path(copy).read_bytes() == before
    assert not list(copy.glob("tmp*"))


def test_another_combination_of_the_same_members_is_another_model(members: list[Path], tmp_path: Path) -> None:
    made = {
        "own": write_ensemble(members, tmp_path / "own"),
        "vote": write_ensemble(members, tmp_path / "vote", combination="vote"),
        "weights": write_ensemble(members, tmp_path / "weights", weights=[3, 1, 1]),
        "again": write_ensemble(members, tmp_path / "again"),
    }
    hashes = {name: load_bundle(place, device="cpu").model.weights_sha256 for name, place in made.items()}
    assert hashes["again"] == hashes["own"]
    assert len(set(hashes.values())) == 3
    configuration = made["again"] / "configs" / "inference.yaml"
    configuration.write_text(configuration.read_text().replace("combination: mean", "combination: vote"))
    with pytest.raises(WeightsError, match="Make it again"):
        load_bundle(made["again"])


def test_a_member_that_is_exchanged_while_the_ensemble_is_loaded_is_noticed(ensemble: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ensemble, tmp_path / "copy"))
    loaded = load_bundle(copy, device="cpu")
    member = copy / "members" / "2_vessap_vessel"
    save_weights(network_of(member, seed=7), weights_path(member), {})
    with pytest.raises(WeightsError, match="replaced meanwhile"):
        loaded.predict(stack())


def test_an_ensemble_of_ensembles_is_refused_by_name(members: list[Path], ensemble: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is an ensemble itself"):
        write_ensemble([members[0], ensemble], tmp_path / "new")


def test_a_merge_has_learned_what_one_of_its_ingredients_has(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for file, learned, apart in zip(files, (["s1", "s2"], ["s2", "s3"]), (["s3", "s4"], ["s1", "s4"]), strict=True):
        about = {"training_subjects": json.dumps(learned), "held_out_subjects": json.dumps(apart)}
        write_weights({"w": torch.ones(3)}, file, about)
    merge_weights(files, tmp_path / "merged.safetensors", method="mean")
    metadata = read_metadata(tmp_path / "merged.safetensors")
    assert json.loads(metadata["training_subjects"]) == ["s1", "s2", "s3"]
    assert json.loads(metadata["held_out_subjects"]) == ["s4"]
    write_weights({"w": torch.ones(3)}, files[1], {"base_sha256": "1" * 64})
    with pytest.raises(WeightsError, match="different bases"):
        merge_weights(files, tmp_path / "other.safetensors", method="mean")


def test_an_ensemble_of_an_earlier_version_is_loaded(ensemble: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ensemble, tmp_path / "copy"))
    hashes = json.loads(read_metadata(weights_path(copy))["ensemble"])["members"]
    save_file({"members": torch.tensor(3.0)}, weights_path(copy), metadata={"members": json.dumps(hashes)})
    assert load_bundle(copy, device="cpu").model.weights_sha256 != load_bundle(ensemble, device="cpu").model.weights_sha256


def with_threshold(member: Path, target: Path, quantile: float) -> Path:
    """Copy a bundle whose mask is then a share of the stack."""
    copy = Path(shutil.copytree(member, target))
    config = copy / "configs" / "inference.yaml"
    threshold = float(np.quantile(load_bundle(member).predict(stack()).probability.array, quantile))
    config.write_text(re.sub(r"^threshold: .*$", f"threshold: {threshold}", config.read_text(), flags=re.MULTILINE))
    return copy


def test_a_tie_of_votes_is_background(members: list[Path], tmp_path: Path) -> None:
    voters = [with_threshold(members[0], tmp_path / f"{n}", quantile) for n, quantile in enumerate((0.3, 0.6, 0.9))]
    masks = [load_bundle(voter).predict(stack()).mask.array > 0 for voter in voters]
    assert masks[0].sum() > masks[1].sum() > masks[2].sum() > 0
    for count, expected in ((2, masks[1]), (3, masks[1])):  # both of two, two of three
        voted = load_bundle(write_ensemble(voters[:count], tmp_path / f"vote{count}", combination="vote"))
        np.testing.assert_array_equal(voted.predict(stack()).mask.array > 0, expected)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_ratio_of_the_weights_of_a_merge_matters(tmp_path: Path, method: str) -> None:
    start, *files = (tmp_path / f"{name}.safetensors" for name in ("start", "one", "two"))
    for file, value in zip((start, *files), (0.0, 1.0, 3.0), strict=True):
        save_file({"w": torch.full((4,), value)}, file)
    merged = [
        load_file(merge_weights(files, tmp_path / "m.safetensors", method=method, start=start, weights=weights, density=1.0))["w"]
        for weights in ([1, 3], [2, 6], [0.1, 0.3])
    ]
    for other in merged[1:]:
        torch.testing.assert_close(other, merged[0])
    if method != "ties":  # which divides by the number of files that agree
        torch.testing.assert_close(merged[0], torch.full((4,), 2.5))
    for wrong in ([0, 0], [1, -1], [float("nan"), 1]):
        with pytest.raises(InputError, match="positive numbers"):
            merge_weights(files, tmp_path / "m.safetensors", method=method, start=start, weights=wrong)


def test_greedy_judges_on_other_subjects_than_it_chooses_on(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, data = Path(shutil.copytree(bundle, tmp_path / "bundle")), Path(shutil.copytree(dataset, tmp_path / "one"))
    words = [
        "bundle",
        "merge",
        *[str(weights_path(bundle))] * 2,
        "--bundle",
        str(copy),
        "--data",
        str(data),
        "--method",
        "greedy",
    ]
    make_dataset(data, validation=["stack2"], replace=True)
    assert run(words) == 1
    assert "The validation cases are of one subject" in capsys.readouterr().err
    choosing, judging = _halves([TrainingCase(Path(str(n)), Path(str(n)), f"m{n % 3}") for n in range(6)])
    assert len(choosing) + len(judging) == 6
    assert not {case.subject for case in choosing} & {case.subject for case in judging}
