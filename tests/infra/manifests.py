"""Kubernetes manifests as a cluster would see them: overlays resolved, checked against the cluster's own schemas."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.conftest import ROOT

FOLDER = ROOT / "infra" / "kubernetes"
OVERLAYS = ("kind", "cloud")
Manifest = dict[str, Any]


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send. Skips where there is neither kustomize nor kubectl."""
    if kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    elif kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    built = subprocess.run([*command, FOLDER / "overlays" / name], check=True, capture_output=True, text=True)
    return tuple(yaml.safe_load_all(built.stdout))


def jobs() -> list[Manifest]:
    """The RayJobs, which are created one by one."""
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "jobs").glob("*.yaml"))]


def one(manifests: tuple[Manifest, ...], kind: str, name: str = "onesheet") -> Manifest:
    """The manifest of that kind and name."""
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pod_specs(node: Any) -> Iterator[dict[str, Any]]:
    """Each pod's specification below a manifest."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_specs(value)


@cache
def custom_resource(kind: str) -> Draft202012Validator:
    """A strict validator of one of KubeRay's kinds, by its own CRD: unknown fields are errors.

    The CRDs are test data (ONESHEET_TEST_DATA, folder `crds`; KubeRay 1.7, Apache-2.0). Skips without them.
    """
    folder = Path(os.environ.get("ONESHEET_TEST_DATA", ROOT.parent / "shared")) / "crds"
    path = folder / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"no CRDs of KubeRay in {folder}; set ONESHEET_TEST_DATA")
    # libyaml: these are a megabyte each.
    definition = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    return Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]))


def _strict(schema: Any) -> Any:
    """An OpenAPI schema of Kubernetes as a JSON schema that knows no other fields than those that it names."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items() if name != "format"}
    if strict.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    is_open = strict.pop("x-kubernetes-preserve-unknown-fields", False) or "additionalProperties" in strict
    if isinstance(strict.get("properties"), dict) and not is_open:
        strict["additionalProperties"] = False
    if strict.get("properties", {}).get("metadata") == {"type": "object"}:
        strict["properties"]["metadata"] = {"type": "object"}
    return strict
