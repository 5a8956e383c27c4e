"""The compose file, without Docker: its schema, its commands, what it mounts and what it opens."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from ray.scripts import scripts

from cluster.settings import Settings
from tests.conftest import ROOT
from tests.infra.schemas import problems

FOLDER = ROOT / "infra" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)["services"]
    return found


def test_it_is_what_the_compose_specification_allows():
    assert problems("compose-spec", yaml.safe_load(TEXT)) == []
    wrong = yaml.safe_load(TEXT)
    wrong["services"]["store"]["imag"] = "x"
    assert problems("compose-spec", wrong)


def test_one_command_is_enough_since_every_variable_has_a_default():
    variables = re.findall(r"\$\{(\w+)([^}]*)\}", TEXT)
    assert variables
    assert [name for name, rest in variables if not rest.startswith(":-")] == []


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_that_is_mounted_exists(services: dict[str, Any]):
    mounts = [mount for service in services.values() for mount in service.get("volumes", []) if mount.startswith(".")]
    assert mounts
    for mount in mounts:
        assert (FOLDER / mount.split(":")[0]).exists(), mount
    build = services["head"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_every_image_has_a_version(services: dict[str, Any]):
    for service in services.values():
        _, _, tag = service["image"].partition(":")
        assert tag
        assert tag != "latest"


@pytest.mark.parametrize("name", ["head", "worker"])
def test_ray_would_take_the_nodes_commands(services: dict[str, Any], name: str):
    program, subcommand, *options = services[name]["command"]
    assert (program, subcommand) == ("ray", "start")
    scripts.start.make_context("start", options, resilient_parsing=True)


def test_every_setting_is_one_of_ours(services: dict[str, Any]):
    names = {name for name in services["head"]["environment"] if name.startswith("ONESHEET_")}
    assert names <= {f"ONESHEET_{name.upper()}" for name in Settings.model_fields}


def test_prometheus_asks_every_ray_node_where_it_exports(services: dict[str, Any]):
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert set(found["names"]) == {"head", "worker"}
    for name in found["names"]:
        assert f"--metrics-export-port={found['port']}" in services[name]["command"]
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "config", FOLDER / "prometheus.yaml"], check=True, capture_output=True)


def test_grafana_finds_prometheus_and_the_dashboards(services: dict[str, Any]):
    source = yaml.safe_load((FOLDER / "grafana" / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    provider = yaml.safe_load((FOLDER / "grafana" / "providers" / "onesheet.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    path = provider["providers"][0]["options"]["path"]
    assert f"../grafana/dashboards:{path}:ro" in services["grafana"]["volumes"]
