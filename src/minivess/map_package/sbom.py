"""Software bill of materials in CycloneDX: Python packages, versions and licences. The same input gives the same file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from minivess.paths import write_json


def write_sbom(path: Path, packages: Sequence[Distribution], *, component: tuple[str, str]) -> Path:
    """Write the packages of an application as CycloneDX 1.6 JSON.

    Args:
        path: File to write.
        packages: The installed packages.
        component: Name and version of what they make up.

    Raises:
        OutputError: When the file cannot be written.
    """
    name, version = component
    components = [_component(package) for package in packages]
    bom = Bom(components=components)
    bom.metadata.component = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref="application")
    bom.register_dependency(bom.metadata.component, components)
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    content.pop("serialNumber", None)  # random
    content["metadata"].pop("timestamp", None)
    write_json(path, content)
    return path


def _first(package: Distribution, *keys: str) -> str | None:
    """Return the first of some fields of a package's metadata that it has."""
    return next((package.metadata[key] for key in keys if key in package.metadata), None)


def _component(package: Distribution) -> Component:
    metadata = package.metadata
    name, version = metadata["Name"], package.version
    licence = _first(package, "License-Expression", "License") or ""
    if "\n" in licence or len(licence) > 120:  # the whole text of the licence
        licence = ""
    classifiers = [c.rsplit(" :: ", 1)[-1] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    stated = licence or ", ".join(classifiers)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name.lower().replace("_", "-"), version=version),
        description=_first(package, "Summary"),
        licenses=[LicenseFactory().make_from_string(stated)] if stated else (),
    )
