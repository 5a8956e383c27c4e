"""The endpoint answers on while a node with a replica dies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Ground, measured
from tests.s3_servers import free_ports
from tests.serving.conftest import Poster, poster, register_tiny
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(300)]

__all__ = ["poster"]
_REPLICA = "ray::ServeReplica:onesheet:posters"
CALLERS = 3


def test_the_endpoint_answers_on_when_a_node_with_a_replica_is_switched_off(
    ground: Ground, tmp_path: Path, poster: Poster
) -> None:
    registry = Registry(ground.store())
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    port = free_ports(1)[0]
    how = ("--min-replicas", 2, "--max-replicas", 2, "--cpus-per-replica", 1)
    command = ground.onesheet("serve", "--store", registry.store.url, "--port", port, *how)
    command.when("Ctrl-C ends it", longest_s=150)
    node = command.until(lambda: ground.node_with(_REPLICA), what="a replica on a worker node")
    url = f"http://127.0.0.1:{port}/v1/predict"
    answers: list[tuple[float, float, int]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            asked = time.monotonic()
            try:
                files = {"image": ("a.jpg", poster("red"))}
                status = httpx.post(url, files=files, timeout=30).status_code
            except httpx.HTTPError:
                status = 0
            answers.append((asked, time.monotonic(), status))

    callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(5)
    ground.switch_off(node)
    died = time.monotonic()

    def replicas() -> int:
        return sum(len(ground.titled(name, _REPLICA)) for name in ("head", *ground.bed.workers))

    command.until(lambda: replicas() == 2, longest_s=150, what="two replicas again")
    healed = time.monotonic()
    time.sleep(10)
    over.set()
    for caller in callers:
        caller.join(40)
    command.process.terminate()
    command.rest(longest_s=60)
    # What was asked of the node as it died is given up after 30 s, when the rest may long be whole again.
    settled = healed + 3
    before = Counter(status for _, at, status in answers if at < died)
    after = Counter(status for asked, _, status in answers if asked > settled)
    assert before.keys() == {200}
    assert after.keys() == {200}, after
    during = [(at, status) for asked, at, status in answers if at >= died and asked <= settled]
    bad = [at for at, status in during if status != 200]
    good = [at for at, status in during if status == 200]
    assert len(good) > len(bad), "most are answered all the while"
    longest = max(b - a for a, b in pairwise(good))
    measured(
        "serve, 2 replicas",
        "node switched off",
        answered=len(good),
        failed=len(bad),
        last_failure_s=max((at - died for at in bad), default=0.0),
        longest_gap_s=longest,
        two_replicas_again_s=healed - died,
    )
