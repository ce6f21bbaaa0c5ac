"""Check a MAP, ours or another one, against the specification 1.0 and against what a hospital relies on."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from minivess.errors import InputError
from minivess.map_package import layout, sandbox
from minivess.map_package.application import check_folder_runner
from minivess.map_package.engines import Engine, find_image
from minivess.map_package.folder import ROOT
from minivess.map_package.manifests import Manifests

#: So long an application may take to refuse an empty folder; a machine may be slow.
_LIMIT_S = 900.0
_SEMANTIC = re.compile(r"^\d+\.\d+\.\d+([-+].+)?$")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        check: What was checked.
        result: ``ok``; ``warning`` for what hosts tolerate, ``error`` for what breaks the specification or hides a failure.
        detail: What was found.
    """

    check: str
    result: Literal["ok", "warning", "error"]
    detail: str = ""


def check_package(image: str, *, engine: str | None = None) -> list[Finding]:
    """Check an image or a MAP's folder.

    Args:
        image: Name of an image, or the path of a folder.
        engine: docker or podman for an image, the first that answers by default; bubblewrap (default) or process, which has the
            caller's rights, for a folder.

    Raises:
        EngineError: When there is no such image, or nothing that can run it.
    """
    if Path(image).is_dir():
        return list(_check_folder(Path(image), engine))
    return list(_check_image(find_image(image, engine), image))


def _check_folder(folder: Path, engine: str | None) -> Iterator[Finding]:
    check_folder_runner(folder, engine)
    try:
        manifests = sandbox.read_manifests(folder)
    except InputError as error:
        yield Finding("manifests", "error", str(error))
        return
    yield from check_manifests(manifests)
    root = folder / ROOT
    for path in (layout.APPLICATION, layout.MODELS, layout.CONFIG, layout.ENTRY_SCRIPT, *manifests.models.values()):
        yield _truth(f"path {path}", (root / path.lstrip("/")).exists(), "missing")
    if not manifests.command:
        return
    with tempfile.TemporaryDirectory() as text:
        source, target = Path(text) / "in", Path(text) / "out"
        source.mkdir()
        target.mkdir()
        prepare = sandbox.in_process if engine == "process" else sandbox.in_bubblewrap
        command, environment = prepare(folder, manifests, source=source, target=target, arguments=())
        yield _forced_failure("command", command, environment=environment)


def _check_image(engine: Engine, image: str) -> Iterator[Finding]:
    config = engine.inspect(image).get("Config") or {}
    files = engine.read_files(image, [layout.APP_MANIFEST, layout.PACKAGE_MANIFEST])
    for path in (layout.APP_MANIFEST, layout.PACKAGE_MANIFEST):
        yield _truth(f"manifest {path}", path in files, "missing, or the image has no `cat`")
    if len(files) < 2:
        return
    try:
        manifests = Manifests.parse(*files.values())
    except InputError as error:
        yield Finding("manifests", "error", str(error))
        return
    yield from check_manifests(manifests)
    yield from _check_labels(config.get("Labels") or {}, manifests)
    yield from _check_paths(engine, image, manifests)
    user = engine.try_program(image, ["-u"], program="id").stdout.strip()
    rights = f"runs as uid {user.decode() or 'unknown'}: a fault has the rights of root"
    yield _truth("user", user not in (b"0", b""), rights, "warning")
    shown = engine.try_program(image, ["show", "app"])
    shows = shown.returncode == 0 and b"command" in shown.stdout
    yield _truth("entry script: show", shows, "`show app` prints no manifest", "warning")
    yield from _check_failures(engine, image, manifests)


def check_manifests(manifests: Manifests) -> Iterator[Finding]:
    """Check the fields of the manifests; the spelling of the SDK's packager is a warning.

    Args:
        manifests: Both manifests.
    """
    app, package = manifests.app, manifests.package
    kind, version = app.get("type"), str(app.get("version", ""))
    working = str(app.get("workingDirectory") or layout.WORKING_DIRECTORY)
    unknown = sorted(name for name in layout.ENVIRONMENT if not {name, f"{name}_PATH"} & set(manifests.environment))
    yield _truth("app.json: command", bool(manifests.command), "missing: a host cannot start it")
    yield _truth("app.json: workingDirectory", working.startswith("/"), f"not absolute: {working}")
    yield _truth("pkg.json: applicationRoot", bool(package.get("applicationRoot")), "missing")
    for check, ok, otherwise in (
        ("app.json: type", kind in ("application", "service"), f"{kind!r}; demanded is application or service"),
        ("app.json: input.formats", bool((app.get("input") or {}).get("formats")), "missing or null"),
        ("app.json: output.format", bool((app.get("output") or {}).get("format")), "missing; the SDK's packager writes formats"),
        ("app.json: environment", not unknown, f"missing: {', '.join(unknown)}"),
        ("app.json: version", bool(_SEMANTIC.match(version)), f"no semantic version: {version!r}"),
        ("pkg.json: models", isinstance(package.get("models") or [], list), "an object; the specification writes an array"),
    ):
        yield _truth(check, ok, otherwise, "warning")
    try:
        yield _truth("pkg.json: resources.memory", manifests.memory_bytes is not None, "missing: a host gives 1 GiB", "warning")
    except InputError as error:
        yield Finding("pkg.json: resources.memory", "error", str(error))


def _check_labels(labels: dict[str, str], manifests: Manifests) -> Iterator[Finding]:
    title, version = (labels.get(f"org.opencontainers.image.{name}") for name in ("title", "version"))
    yield _truth("label title", bool(title), "org.opencontainers.image.title is missing")
    same = bool(version) and version == manifests.app.get("version")
    yield _truth("label version", same, f"{version!r}, app.json has {manifests.app.get('version')!r}")


def _check_paths(engine: Engine, image: str, manifests: Manifests) -> Iterator[Finding]:
    wanted = [layout.APPLICATION, layout.MODELS, *manifests.models.values()]
    for path in dict.fromkeys(wanted):
        result = engine.try_program(image, ["-e", path], program="test")
        yield _truth(f"path {path}", result.returncode == 0, "missing")


def _check_failures(engine: Engine, image: str, manifests: Manifests) -> Iterator[Finding]:
    """Run the application on an empty folder, without network and read-only: it must fail, and say so by its exit code."""
    with tempfile.TemporaryDirectory() as text:
        source, target = Path(text) / "in", Path(text) / "out"
        for folder in (source, target):
            folder.mkdir()
            folder.chmod(0o777)
        Path(text).chmod(0o755)
        for name, program, words in (
            ("entry script", None, []),
            *([("command", manifests.command[0], manifests.command[1:])] if manifests.command else []),
        ):
            container = f"minivess-check-{uuid.uuid4().hex[:12]}"
            command = engine.run_command(
                image,
                name=container,
                source=source,
                target=target,
                memory_bytes=_memory_bytes(manifests),
                arguments=words,
                entrypoint=program,
            )
            yield _forced_failure(name, command, stop=partial(engine.stop, container))
        left = [str(f.relative_to(target)) for f in target.rglob("*")]
        yield _truth("a failure leaves nothing", not left, f"left behind: {', '.join(left[:5])}")


def _forced_failure(
    name: str, command: Sequence[str], *, environment: dict[str, str] | None = None, stop: Callable[[], None] = lambda: None
) -> Finding:
    """Run it on an empty folder, and judge: 125 to 127 are the engine's own codes, so the application did not start."""
    check = f"{name}: exit code of a failure"
    try:
        given = None if environment is None else {**os.environ, **environment}
        result = subprocess.run(command, env=given, capture_output=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        stop()
        return Finding(check, "error", f"it did not end within {_LIMIT_S:g} s on an empty folder")
    except OSError as error:
        return Finding(check, "error", f"the application did not start: {error.strerror}: {error.filename}")
    if result.returncode == 0:
        return Finding(check, "error", "0: a host takes every failure for a success")
    if result.returncode in (125, 126, 127):
        lines = result.stderr.decode(errors="replace").strip().splitlines() or [""]
        return Finding(check, "error", f"the application did not start ({result.returncode}): {lines[-1][:200]}")
    return Finding(check, "ok", str(result.returncode))


def _memory_bytes(manifests: Manifests) -> int | None:
    """Return the limit of memory; None where what is stated is no size, which is a finding of its own."""
    try:
        return manifests.memory_bytes
    except InputError:
        return None


def _truth(check: str, ok: bool, otherwise: str, level: Literal["warning", "error"] = "error") -> Finding:
    return Finding(check, "ok") if ok else Finding(check, level, otherwise)
