"""Ray lets unknown keys of a Serve configuration pass silently (ray-project/ray#61439), so we look ourselves."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serving.app import APP_NAME, ServeOptions
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "serve.yaml").read_text())
    return found


def test_it_has_only_keys_that_ray_knows(config: dict[str, Any]):
    understood = ServeDeploySchema.model_validate(config).model_dump(exclude_unset=True, mode="json")
    assert understood == config


def test_it_is_the_application_that_onesheet_serve_runs(config: dict[str, Any]):
    (application,) = config["applications"]
    module, _, name = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert application["name"] == APP_NAME
    ServeOptions.model_validate(application["args"])
