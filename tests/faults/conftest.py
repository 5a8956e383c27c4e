"""What the drills share: a testbed of three nodes, an S3 store behind a gate, posters in it, commands that run there.

    python -m pytest tests/faults -rP

shows what each drill has measured (`measured: …`), which is what docs/reliability.md tells.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.store import Store, open_store
from cluster.testbed.bed import Bed
from cluster.testbed.start import Wanted, running_bed
from tests.crawler.outages import Gate, gate
from tests.processes import titled
from tests.s3_servers import moto
from tests.training.conftest import blurred, crawled
from training.dataset import PrepareOptions, prepare

_KEYS = {"AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto", "AWS_REGION": "us-east-1"}
_OTHERS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "RAY_ADDRESS")
# How long an outage of the store or a line lasts, and how long the store is slow after it.
AWAY_S = 60.0
SLOW_S = float(os.environ.get("ONESHEET_TEST_SLOW_S", "15"))
_SLOW_BY_S = 0.2
_GENRES = ("Drama", "Comedy", "Horror")


@dataclass
class Ground:
    """Where the drills take place: nodes, and a store that they reach through a gate."""

    bed: Bed
    gate: Gate
    bucket: str
    environment: dict[str, str]
    _begun: list[subprocess.Popen[str]] = field(default_factory=list)

    def store(self) -> Store:
        """A new, empty one."""
        return open_store(f"{self.bucket}/{secrets.token_hex(4)}")

    def onesheet(self, *words: object, **settings: object) -> Command:
        """Start `onesheet …` as a driver on the head's machine."""
        own = {f"ONESHEET_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-c", "import onesheet; onesheet.main()", *map(str, words)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | own,
            start_new_session=True,
        )
        self._begun.append(process)
        return Command(process)

    def node_with(self, title: str) -> str | None:
        """The worker node with a process of that title, the first where there are several."""
        return next((name for name in self.bed.workers if self.titled(name, title)), None)

    def titled(self, node: str, title: str) -> list[psutil.Process]:
        """A node's processes of that title."""
        return titled(title, self.bed.processes(node))

    def outage(self, command: Command) -> float:
        """The store does not answer for a minute, then slowly, then as before; tells when it was back."""
        self.gate.close()
        time.sleep(AWAY_S)
        self.gate.delay_s = _SLOW_BY_S
        self.gate.open()
        back = time.monotonic()
        # A command that has ended needs no slow store.
        with suppress(subprocess.TimeoutExpired):
            command.process.wait(SLOW_S)
        self.gate.delay_s = 0.0
        return back

    def switch_off(self, node: str) -> None:
        """Kill a node; where it has a network, its connections fall silent, as those of a machine without power."""
        self.bed.kill(node, power_off=self.bed.record.network is not None)

    def need_network(self) -> None:
        """Skip where the nodes have no network of their own."""
        if self.bed.record.network is None:
            pytest.skip("cutting a network needs network namespaces: root on Linux")

    def need_disk(self) -> None:
        """Skip where they have no disks of their own."""
        if not self.bed.record.nodes[-1].has_disk:
            pytest.skip("filling a disk needs the right to mount one: root on Linux")

    def make_whole(self) -> None:
        """End what a drill has left, mend everything, and start the nodes that died."""
        for process in self._begun:
            process.kill()
            process.communicate()
        self._begun.clear()
        self.gate.delay_s = 0.0
        self.gate.open()
        bed = self.bed
        for what in bed.record.is_cut:
            bed.mend(*what.split())
        alive = bed.ray_nodes()
        for name in bed.workers:
            if bed.node(name).has_disk:
                bed.empty(name)
            if name not in alive or not bed.processes(name):
                bed.kill(name)
                bed.start(name)


class Command:
    """A command that runs beside the test; what it says on standard error is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[tuple[float, str]] = []
        self._reader = ThreadPoolExecutor(1)
        self._reading = self._reader.submit(self._read)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append((time.monotonic(), line.rstrip()))

    def when(self, text: str, *, since: float = 0.0, longest_s: float = 120) -> float:
        """Wait until it says something, and tell when that was."""
        return self.until(
            lambda: next((at for at, line in list(self.said) if at > since and text in line), None),
            longest_s=longest_s,
            what=text,
        )

    def until(self, look: Callable[[], Any], *, longest_s: float = 120, what: str = "") -> Any:
        """Look again and again until there is something, while it runs."""
        deadline = time.monotonic() + longest_s
        while not (found := look()):
            assert time.monotonic() < deadline, f"not within {longest_s} s: {what}; it said {self.words}"
            assert self.process.poll() is None or any(what in line for _, line in self.said), self.words
            time.sleep(0.1)
        return found

    def end(self, *, longest_s: float = 200) -> dict[str, Any]:
        """Wait for its end, which must be a good one, and give its result."""
        out = self.rest(longest_s=longest_s)
        assert self.process.returncode == 0, self.words
        assert "Traceback" not in self.words, self.words
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def rest(self, *, longest_s: float = 200) -> str:
        """Wait for its end, whatever it is; its standard output."""
        assert self.process.stdout
        self.process.wait(longest_s)
        self._reading.result(10)
        return self.process.stdout.read()

    @property
    def words(self) -> str:
        """All that it said."""
        return "\n".join(line for _, line in self.said)


@contextmanager
def some_environment(own: dict[str, str]) -> Iterator[dict[str, str]]:
    """This process with these variables, and without others that lead elsewhere; also as a dict for children."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("ONESHEET_") or name in _OTHERS]:
        del os.environ[name]
    os.environ.update(own)
    try:
        yield {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "NO_COLOR": "1", "COLUMNS": "200"}
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def _ground() -> Iterator[Ground]:
    with moto() as server, gate(server.endpoint_url, "0.0.0.0") as store_gate:
        bucket = server.create_bucket("drills")
        endpoint = {"AWS_ENDPOINT_URL_S3": f"http://{{host}}:{store_gate.port}"}
        with some_environment(_KEYS), running_bed(Wanted(nodes=3, disk_mb=256, environment=endpoint | _KEYS)) as bed:
            own = {"AWS_ENDPOINT_URL_S3": f"http://{bed.host}:{store_gate.port}", **_KEYS, **bed.environment()}
            with some_environment(own) as environment:
                yield Ground(bed, store_gate, bucket, environment)


@pytest.fixture
def ground(_ground: Ground) -> Iterator[Ground]:
    """Three nodes of a CPU each, whole again after each drill."""
    yield _ground
    _ground.make_whole()


@pytest.fixture(scope="session")
def many_posters(_ground: Ground) -> Store:
    """A store with a crawl of enough posters for several shards."""
    store = _ground.store()
    count = 1100
    posters = {f"tt{number:07}": blurred(number) for number in range(1, count + 1)}
    _crawl_into(store, posters)
    return store


@pytest.fixture(scope="session")
def learnt_from(_ground: Ground) -> Store:
    """A store with a small dataset."""
    store = _ground.store()
    _crawl_into(store, {f"tt{number:07}": blurred(number) for number in range(1, 81)})
    prepare(store, None, PrepareOptions())
    return store


def _crawl_into(store: Store, posters: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        genres = {imdb_id: [_GENRES[place % 3]] for place, imdb_id in enumerate(posters)}
        crawled(store, Path(folder, "catalog.parquet"), posters, genres)


def measured(stage: str, fault: str, **figures: object) -> None:
    """What a drill has found, for `-rP`."""
    told = {name: round(value, 1) if isinstance(value, float) else value for name, value in figures.items()}
    print(f"measured: {stage}: {fault}: {json.dumps(told)}")  # noqa: T201
