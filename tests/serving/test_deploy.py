"""infra/serve.yaml on a real Ray cluster, with `serve deploy` as operators run it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cluster.nodes import LocalCluster, local_cluster
from cluster.store import FolderStore
from serving.app import APP_NAME
from tests.conftest import ROOT
from tests.s3_servers import free_ports
from tests.serving.conftest import Poster, register_tiny, serve
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]


def status(cluster: LocalCluster, wanted: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while True:
        found: dict[str, Any] = yaml.safe_load(serve("status", cluster=cluster))
        application: dict[str, Any] = found["applications"].get(APP_NAME, {"status": "none yet"})
        if application["status"] == wanted:
            return application
        assert time.monotonic() < until, application
        time.sleep(1)


def reserved(cluster: LocalCluster) -> list[dict[str, float]]:
    """What Ray keeps free for each replica."""
    from ray.util.state import list_actors

    running = [("class_name", "=", f"ServeReplica:{APP_NAME}:posters"), ("state", "=", "ALIVE")]
    return [actor.required_resources for actor in list_actors(cluster.dashboard_url, filters=running, detail=True)]


def test_it_deploys_on_a_ray_cluster_and_a_wrong_option_is_told_in_a_sentence(tmp_path: Path, poster: Poster) -> None:
    registry = Registry(FolderStore(tmp_path / "store"))
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    [port] = free_ports(1)
    changed = yaml.safe_load((ROOT / "infra" / "serve.yaml").read_text())
    changed["http_options"] = {"host": "127.0.0.1", "port": port}
    changed["applications"][0]["args"] |= {"store": registry.store.url, "cpus_per_replica": 1}
    file = tmp_path / "serve.yaml"
    with local_cluster(num_cpus=2, environment={"PYTHONPATH": str(ROOT)}) as cluster:
        file.write_text(yaml.safe_dump(changed))
        serve("deploy", file, cluster=cluster)
        status(cluster, "RUNNING")
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/predict", files={"image": poster("red")}, timeout=60)
        assert (answer.status_code, answer.json()["version"]) == (200, "v1")
        assert answer.json()["posters"][0]["predicted"] == ["Red"]
        assert reserved(cluster) == [{"CPU": 1.0}]
        changed["applications"][0]["args"]["max_replica"] = 3
        file.write_text(yaml.safe_dump(changed))
        serve("deploy", file, cluster=cluster)
        message = status(cluster, "DEPLOY_FAILED")["message"]
        assert (
            message.strip()
            .splitlines()[-1]
            .startswith("cluster.errors.ServingError: max_replica is no option of the application; it has store, ")
        )
        serve("shutdown", "-y", cluster=cluster)
