"""The endpoint answers on while a node with a replica dies."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import yaml

from cluster.ports import free_ports
from cluster.store import FolderStore
from cluster.testbed.bed import Bed
from cluster.testbed.start import Wanted, running_bed
from serving import haproxy
from tests.conftest import ROOT
from tests.faults.conftest import Ground, measured
from tests.processes import titled
from tests.serving.conftest import Poster, poster, register_tiny, serve
from training.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(300)]

__all__ = ["poster"]
_REPLICA = "ray::ServeReplica:onesheet:posters"
CALLERS = 3


class Answers:
    """What callers met: when each asked, when it heard, and the status, 0 where there was none."""

    def __init__(self) -> None:
        self.all: list[tuple[float, float, int]] = []

    def before(self, at: float) -> Counter[int]:
        """Of the answers that came before."""
        return Counter(status for _, heard, status in self.all if heard < at)

    def after(self, at: float) -> Counter[int]:
        """Of what was asked after."""
        return Counter(status for asked, _, status in self.all if asked > at)

    def between(self, died: float, settled: float) -> list[tuple[float, int]]:
        """When each answer came, and its status, of what was asked by `settled` and not heard by `died`."""
        return [(heard, status) for asked, heard, status in self.all if heard >= died and asked <= settled]


def ask(url: str, picture: bytes) -> int:
    """The status, 0 without an answer."""
    try:
        return httpx.post(url, files={"image": ("a.jpg", picture)}, timeout=30).status_code
    except httpx.HTTPError:
        return 0


@contextmanager
def callers(urls: list[str], picture: bytes) -> Iterator[Answers]:
    """Callers that ask one URL after the other, within the block."""
    answers, over = Answers(), threading.Event()

    def go_on(turn: int) -> None:
        while not over.is_set():
            turn += 1
            asked = time.monotonic()
            status = ask(urls[turn % len(urls)], picture)
            answers.all.append((asked, time.monotonic(), status))

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join(40)


def told(stage: str, answers: Answers, *, died: float, healed: float) -> None:
    """What came of the requests from the node's death until all was whole: most are answered, and all others are."""
    # What was asked of the node as it died is given up after 30 s, when the rest may long be whole again.
    settled = healed + 3
    assert answers.before(died).keys() == {200}
    assert answers.after(settled).keys() == {200}, answers.after(settled)
    during = answers.between(died, settled)
    bad = [at for at, status in during if status != 200]
    good = [at for at, status in during if status == 200]
    assert len(good) > len(bad), "most are answered all the while"
    measured(
        stage,
        "node switched off",
        answered=len(good),
        failed=len(bad),
        last_failure_s=max((at - died for at in bad), default=0.0),
        longest_gap_s=max(b - a for a, b in pairwise(good)),
        two_again_s=healed - died,
    )


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
    with callers([f"http://127.0.0.1:{port}/v1/predict"], poster("red")) as answers:
        time.sleep(5)
        ground.switch_off(node)
        died = time.monotonic()
        command.until(lambda: len(replicas(ground.bed)) == 2, longest_s=150, what="two replicas again")
        healed = time.monotonic()
        time.sleep(10)
    command.process.terminate()
    command.rest(longest_s=60)
    told("serve, 2 replicas", answers, died=died, healed=healed)


@pytest.mark.skipif(haproxy.why_not() is not None, reason=str(haproxy.why_not()))
def test_behind_haproxy_the_other_nodes_answer_on_when_one_with_a_replica_is_switched_off(
    tmp_path: Path, poster: Poster
) -> None:
    registry = Registry(FolderStore(tmp_path / "store"))
    register_tiny(registry, tmp_path / "v1", "v1")
    registry.promote("v1")
    port, metrics_port, stats_port = free_ports(3)
    own = {
        "PYTHONPATH": str(ROOT),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.executable).with_name("onesheet-haproxy")),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
    }
    with running_bed(Wanted(nodes=3, environment=own), f"h{os.getpid()}") as bed:
        if bed.record.network is None:
            pytest.skip("nodes with an address each need network namespaces: root on Linux")
        deploy(registry, bed, port, tmp_path / "serve.yaml")
        wait_for(lambda: len(replicas(bed)) == 2, "two replicas")
        # Serve has a proxy on the head, and on each node with a replica.
        urls = {name: f"http://{bed.node(name).address}:{port}/v1/predict" for name in {"head", *replicas(bed)}}
        wait_for(lambda: {ask(url, poster("red")) for url in urls.values()} == {200}, f"answers of {list(urls)}")
        lost = next(name for name in bed.workers if name in replicas(bed))
        with callers([url for name, url in urls.items() if name != lost], poster("red")) as answers:
            time.sleep(5)
            bed.kill(lost, power_off=True)
            died = time.monotonic()
            wait_for(lambda: len(replicas(bed)) == 2, "two replicas again")
            healed = time.monotonic()
            time.sleep(10)
        assert addresses(bed) == {bed.host}, "replicas know who asks, whichever node was asked"
        told("serve, HAProxy on 3 nodes", answers, died=died, healed=healed)


def replicas(bed: Bed) -> list[str]:
    """The nodes on which replicas run, each as often as they do."""
    return [name for name in ("head", *bed.workers) for _ in titled(_REPLICA, bed.processes(name))]


def deploy(registry: Registry, bed: Bed, port: int, file: Path) -> None:
    """`serve deploy` of our serve.yaml, with two replicas of a CPU."""
    changed = yaml.safe_load((ROOT / "infra" / "serve.yaml").read_text())
    changed["http_options"]["port"] = port
    changed["applications"][0]["args"] |= {
        "store": registry.store.url,
        "min_replicas": 2,
        "max_replicas": 2,
        "cpus_per_replica": 1,
        "trusted_proxies": [bed.host.rpartition(".")[0] + ".0/24"],
    }
    file.write_text(yaml.safe_dump(changed))
    serve("deploy", file, cluster=bed)


def addresses(bed: Bed) -> set[str]:
    """Of those who asked, by the access logs of all replicas."""
    lines = [line for log in bed.record.folder.rglob("access_*.log") for line in log.read_text().splitlines()]
    return {json.loads(line)["address"] for line in lines}


def wait_for(look: Callable[[], object], what: str, longest_s: float = 150) -> None:
    until = time.monotonic() + longest_s
    while not look():
        assert time.monotonic() < until, f"not within {longest_s:.0f} s: {what}"
        time.sleep(0.5)
