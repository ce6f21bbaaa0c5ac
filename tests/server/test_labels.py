"""The history of labels over HTTP, and the headers that make a submission safe to repeat."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
import requests
from fastapi import Request
from server.lab import Lab
from store.conftest import image_volume, label_volume

from minivess.errors import BusyError
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.accounts import Account
from minivess.server.app import api_routes, make_api
from minivess.server.dependencies import ACCOUNT_KEY, LONG_REQUESTS, limit_per_user
from minivess.server.serve import free_port
from minivess.volume import read_volume, write_volume


def submit(lab: Lab, seed: int, who: str, image: str = "a", **headers: str) -> requests.Response:
    file = write_volume(label_volume(seed), lab.folder / f"{seed}.nii.gz")
    with file.open("rb") as stream:
        return lab.ask(
            "PUT", "/datastore/label", who, params={"image": image}, files={"label": ("l.nii.gz", stream)}, headers=headers
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("labels")
    for image in "abc":
        write_volume(image_volume(), folder / "studies" / f"{image}.nii.gz")
    people = Accounts(accounts_path(folder))
    tokens = {name: people.add(name, role) for name, role in (("ann", "annotator"), ("bob", "annotator"), ("rita", "reviewer"))}
    (folder / "tmp").mkdir()
    launch = prepare_server(folder / "studies", workspace=folder, port=free_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        with LabelServer(launch, log=folder / "log") as server:
            yield Lab(server, {**tokens, "root": launch.token}, folder)


def test_two_annotators_a_decision_and_a_review(lab: Lab) -> None:
    first = submit(lab, 0, "ann").json()["minivess"]["revision"]
    second = submit(lab, 1, "ann", **{"If-Match": f'"{first}"'}).json()["minivess"]["revision"]
    late = submit(lab, 2, "bob", **{"If-Match": str(first)})
    assert late.status_code == 409
    [rival] = lab.ask("GET", "/labels/", "ann").json()
    assert (rival["actor"], rival["base"], rival["state"]) == ("bob", first, "rival")

    history = lab.ask("GET", "/labels/a", "bob").json()["revisions"]
    assert [r["number"] for r in history] == [first, second, rival["number"]]
    label = lab.ask("GET", f"/labels/a/{first}/file", "bob")
    (lab.folder / "got.nii.gz").write_bytes(label.content)
    np.testing.assert_array_equal(read_volume(lab.folder / "got.nii.gz").array, label_volume(0).array)
    measured = lab.ask("GET", f"/labels/a/{first}/measurements", "bob").json()
    voxel_mm3 = np.prod(image_volume().spacing_um) / 1e9
    assert measured["volume_mm3"] == pytest.approx((label_volume(0).array > 0).sum() * voxel_mm3)
    assert measured["components"] >= 1
    diff = lab.ask("GET", f"/labels/a/{second}/diff/{first}", "bob").json()
    now, before = label_volume(1).array > 0, label_volume(0).array > 0
    assert diff["added_voxels"] == int((now & ~before).sum())
    assert diff["removed_voxels"] == int((before & ~now).sum())
    assert diff["dice"] == pytest.approx(2 * (now & before).sum() / (now.sum() + before.sum()))

    decide = f"/labels/a/{rival['number']}"
    assert lab.ask("POST", f"{decide}/restore", "ann").status_code == 403
    restored = lab.ask("POST", f"{decide}/restore", "rita").json()
    assert restored["state"] == "current"
    assert restored["sha256"] == rival["sha256"]
    assert lab.ask("GET", "/labels/", "ann").json() == []
    reviewed = lab.ask("POST", f"/labels/a/{restored['number']}/review", "rita", json={"state": "approved", "comment": "good"})
    assert [(r["state"], r["actor"], r["comment"]) for r in reviewed.json()["reviews"]] == [("approved", "rita", "good")]


def test_a_submission_is_repeated_by_its_key_and_a_key_is_for_one_label(lab: Lab) -> None:
    lab.ask("GET", "/datastore/label", "ann", params={"label": "a", "tag": "final"})  # so that ann knows what counts now
    first = submit(lab, 5, "ann", **{"Idempotency-Key": "k-1"})
    assert first.status_code == 200
    submit(lab, 6, "ann", **{"Idempotency-Key": "k-2"})
    again = submit(lab, 5, "ann", **{"Idempotency-Key": "k-1"})  # a late retry does not bring the old label back
    assert again.json() == first.json()
    other = submit(lab, 7, "ann", **{"Idempotency-Key": "k-1"})
    assert other.status_code == 422
    assert "another label" in other.json()["detail"]


def test_asking_for_the_next_sample_is_not_looking_at_a_label(lab: Lab) -> None:
    assert submit(lab, 10, "bob", "b").status_code == 200
    assert lab.ask("POST", "/activelearning/random", "ann", json={}).status_code == 200  # scores what has labels
    assert submit(lab, 11, "ann", "b").status_code == 409  # ann has not seen what bob submitted
    lab.ask("GET", "/datastore/label", "ann", params={"label": "b", "tag": "final"})
    assert submit(lab, 12, "ann", "b").status_code == 200


def test_a_refused_upload_leaves_nothing_behind(lab: Lab) -> None:
    before = set((lab.folder / "tmp").rglob("*"))
    for body in (b"", b"\x1f\x8b" + bytes(99), b"text"):
        with_file = {"label": ("l.nii.gz", body)}
        assert lab.ask("PUT", "/datastore/label", "ann", params={"image": "c"}, files=with_file).status_code in (415, 422)
        as_image = {"file": ("new.nii.gz", body)}
        assert lab.ask("PUT", "/datastore/image", "ann", params={"image": "new"}, files=as_image).status_code in (415, 422)
    assert {p for p in (lab.folder / "tmp").rglob("*") if p.is_file()} <= before


def test_a_model_that_is_not_there_makes_no_job_and_no_number(lab: Lab) -> None:
    for name in ("MUELLER-HANS-1961", "other"):
        assert lab.ask("POST", f"/infer/{name}", "ann", params={"image": "a"}).status_code == 404
    assert lab.ask("GET", "/jobs/", "ann").json() == []
    assert "MUELLER" not in lab.ask("GET", "/metrics", "ann").text


def test_whom_an_image_belongs_to_is_a_reviewer_s_to_say(lab: Lab) -> None:
    def say(who: str, **info: object) -> int:
        return lab.ask("PUT", "/datastore/image/info", who, params={"image": "a"}, data={"info": json.dumps(info)}).status_code

    assert say("ann", subject="m2") == 403
    assert say("rita", subject="m1") == 200
    assert say("rita", remote=True) == 422
    assert lab.ask("GET", "/datastore/image/info", "ann", params={"image": "a"}).json()["subject"] == "m1"


def test_what_is_not_there_or_not_a_number(lab: Lab) -> None:
    assert lab.ask("GET", "/labels/ghost", "ann").status_code == 404
    assert lab.ask("GET", "/labels/a/999", "ann").status_code == 404
    assert lab.ask("GET", "/labels/..%2fa", "ann").status_code in (400, 404)
    assert submit(lab, 8, "ann", **{"If-Match": "newest"}).status_code == 400
    assert submit(lab, 8, "ann", **{"If-Match": "9" * 30}).status_code == 400
    assert lab.ask("POST", "/labels/a/1/review", "rita", json={"state": "great"}).status_code == 422
    number = lab.ask("GET", "/labels/a", "ann").json()["revisions"][0]["number"]
    assert lab.ask("GET", f"/labels/a/{number}", "ann").json()["number"] == number


def test_a_checksum_is_compared_whatever_its_digits(lab: Lab) -> None:
    content = (lab.folder / "studies" / "a.nii.gz").read_bytes()
    for name in ("sha256", "sha512", "md5"):
        digest = hashlib.new(name, content).hexdigest()
        for stated in (f"{name.upper()}:{digest}", digest) if name == "sha256" else (f"{name.upper()}:{digest}",):
            for wanted, changed in ((200, stated), (404, stated[:-1] + ("0" if stated[-1] != "0" else "1"))):
                answer = lab.ask("HEAD", "/datastore/image", "ann", params={"image": "a", "check_sum": changed})
                assert answer.status_code == wanted, stated
    assert lab.ask("HEAD", "/datastore/image", "ann", params={"image": "a"}).status_code == 200
    assert lab.ask("HEAD", "/datastore/image", "ann", params={"image": "ghost"}).status_code == 404
    assert lab.ask("HEAD", "/datastore/image", "ann", params={"image": "a", "check_sum": "x"}).status_code == 400


@pytest.mark.parametrize("params", [{"dice": 5}, {"dice": ["x"]}])
def test_parameters_of_a_task_that_are_no_object_are_refused(lab: Lab, params: dict[str, object]) -> None:
    answer = lab.ask("POST", "/scoring/", "ann", json=params)
    assert answer.status_code == 400
    assert "must be an object" in answer.json()["detail"]


def test_a_session_that_is_over_is_said_before_anything_is_segmented(lab: Lab) -> None:
    for params in ({"session_id": "gone"}, {"session_id": "gone", "image": "a"}):
        answer = lab.ask("POST", "/infer/segresnet", "ann", params=params)
        assert answer.status_code == 404
        assert "no session with this id" in answer.json()["detail"]


def test_a_session_names_no_folder_of_the_server_and_ends_with_its_time(lab: Lab) -> None:
    files = {"files": ("x.nii.gz", b"x" * 100)}
    made = lab.ask("PUT", "/session/?expiry=999999999", "ann", files=files).json()
    read = lab.ask("GET", f"/session/{made['session_id']}", "ann").json()
    for about in (made["session_info"], read):
        assert "/" not in about["path"]
    assert read["expiry"] <= 7 * 86400
    assert any((lab.folder / "model").rglob(made["session_id"])), "beside the model, not in the home of the user"
    lab.ask("DELETE", f"/session/{made['session_id']}", "ann").raise_for_status()


def test_a_session_is_of_the_user_who_uploaded_it(lab: Lab) -> None:
    made = lab.ask("PUT", "/session/", "ann", files={"files": ("x.nii.gz", b"x" * 100)}).json()["session_id"]
    for method, path in (
        ("GET", f"/session/{made}"), ("GET", f"/session/{made}?image=true"), ("DELETE", f"/session/{made}"),
        ("POST", f"/infer/segresnet?session_id={made}"),
    ):  # fmt: skip
        for other in ("bob", "rita"):
            assert lab.ask(method, path, other).status_code == 404, (method, path, other)
    assert lab.ask("GET", f"/session/{made}", "ann").status_code == 200
    assert lab.ask("DELETE", f"/session/{made}", "ann").status_code == 200
    again = lab.ask("PUT", "/session/", "ann", files={"files": ("x.nii.gz", b"x" * 100)}).json()["session_id"]
    assert lab.ask("DELETE", f"/session/{again}", "root").status_code == 200


def test_long_requests_of_one_user_leave_threads_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivess.server.dependencies.LONG_WAIT_S", 0.2)

    async def begin(user: str) -> AsyncIterator[None]:
        request = limit_per_user(Request({"type": "http", ACCOUNT_KEY: Account(user, "reader")}))
        await anext(request)
        return request

    async def end(request: AsyncIterator[None]) -> None:
        assert [none async for none in request] == []

    async def ask() -> None:
        running = [await begin("ann") for _ in range(LONG_REQUESTS)]
        with pytest.raises(BusyError, match="8 such requests running"):
            await begin("ann")
        await end(await begin("bob"))
        waiting = asyncio.ensure_future(begin("ann"))
        await asyncio.sleep(0.1)
        await end(running.pop())
        running.append(await waiting)
        for request in running:
            await end(request)

    asyncio.run(ask())


def test_measurements_are_long_requests(lab: Lab) -> None:
    number = lab.ask("GET", "/labels/a", "ann").json()["revisions"][0]["number"]
    assert lab.ask("GET", f"/labels/a/{number}/measurements", "ann").json()["length_mm"] >= 0
    routes = {route.path: route for route in api_routes(make_api())}
    for path in (
        "/labels/{image}/{number}/measurements",
        "/review/places/{place}/errors",
        "/review/places/{place}/picture.png",
        "/review/images/{image}/volume",
    ):
        assert limit_per_user in [dependency.dependency for dependency in routes[path].dependencies]
