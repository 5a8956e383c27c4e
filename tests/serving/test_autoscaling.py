"""Replicas come with the load and go with it, to none and back, and no request is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cluster.settings import load_settings
from cluster.store import FolderStore
from serving.app import APP_NAME
from serving.endpoint import options_for, running
from tests.s3_servers import free_ports
from tests.serving.conftest import Poster, register_tiny
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]

CALLERS = 12


def replicas() -> int:
    from ray import serve

    states = serve.status().applications[APP_NAME].deployments["posters"].replica_states
    return int(states.get("RUNNING", 0))


def wait_for(count: int) -> None:
    until = time.monotonic() + 150
    while (now := replicas()) != count:
        assert time.monotonic() < until, f"{now} replicas, not {count}"
        time.sleep(0.3)


def test_replicas_follow_the_load_from_none_to_many_and_back(tmp_path: Path, poster: Poster) -> None:
    registry = Registry(FolderStore(tmp_path / "store"))
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    settings = load_settings(store=registry.store.url, ray_address="local")
    delays = {"upscale_delay_s": 1.0, "downscale_delay_s": 4.0, "target_ongoing_requests": 1.0}
    options = options_for(settings, min_replicas=0, max_replicas=2, cpus_per_replica=1).model_copy(update=delays)
    answers: Counter[int] = Counter()
    over = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(timeout=120) as client:
            while not over.is_set():
                answers[client.post(f"{url}/v1/predict", files={"image": ("a.jpg", poster("red"))}).status_code] += 1

    with running(options, settings, host="127.0.0.1", port=free_ports(1)[0]) as endpoint:
        assert endpoint.version == "v1", "the first request starts a replica, and waits for it"
        with ThreadPoolExecutor(CALLERS) as callers:
            asking = [callers.submit(ask, endpoint.url) for _ in range(CALLERS)]
            wait_for(2)
            time.sleep(5)
            assert replicas() == 2, "they stay while the load does"
            over.set()
        for each in asking:
            each.result()
        assert answers.keys() == {200}
        assert answers[200] > CALLERS
        wait_for(0)
        cold = httpx.post(f"{endpoint.url}/v1/predict", files={"image": ("a.jpg", poster("red"))}, timeout=180)
        assert cold.status_code == 200
