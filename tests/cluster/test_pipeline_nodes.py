"""`onesheet pipeline` on real posters over three nodes and an S3 server, with a node killed in every stage."""

from __future__ import annotations

import ast
import csv
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.console import parse_result
from cluster.ports import free_ports
from cluster.testbed.bed import Bed
from cluster.testbed.start import Wanted, running_bed
from crawler.site.faults import Faults
from crawler.site.server import Site, running_site
from tests.cluster.pipelines import Nightly, outcomes
from tests.conftest import ROOT
from tests.crawler.outages import gate
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server
from training.registry import Registry

pytestmark = [pytest.mark.fault, pytest.mark.drill, pytest.mark.timeout(900)]

STAGES = ("crawl", "prepare", "train", "evaluate", "promote")
POSTERS, CPUS, EPOCHS, TRIALS = 300, 2, 60, 2
SPACE = 'architecture = ["cnn_small@48x32"]\nepochs = 20\nlearning_rate = { from = 1e-4, to = 1e-2 }\n'


@dataclass
class Ground:
    """A cluster whose head has no CPU, so that what runs, runs on its worker nodes; a store, posters and a pipeline."""

    bed: Bed
    nightly: Nightly
    site: Site
    posters: Path
    environment: dict[str, str]
    _starting: dict[str, threading.Thread] = field(default_factory=dict)
    _killed: int = 0

    def start(self) -> subprocess.Popen[str]:
        """Start a call of the pipeline, each of whose stages is a job on the cluster."""
        return self.nightly.start("--address", self.bed.dashboard_url)

    def kill_one(self) -> None:
        """SIGKILL for the worker node that is up for longest, and another one in its place, as a cloud gives it."""
        name = self.bed.workers[self._killed % len(self.bed.workers)]
        self._killed += 1
        if name in self._starting:
            self._starting[name].join()
        self.bed.kill(name)
        self._starting[name] = threading.Thread(target=self.bed.start, args=(name,))
        self._starting[name].start()

    def make_whole(self) -> None:
        """Wait for the nodes that are on their way."""
        for thread in self._starting.values():
            thread.join()

    def asked(self) -> list[int]:
        """How often each poster was asked for."""
        return [count for path, count in self.site.requests().items() if path.startswith("/images/")]

    def answer(self) -> dict[str, Any]:
        """What an endpoint on the same cluster answers for a poster."""
        (port,) = free_ports(1)
        with (self.nightly.file.parent / "serve.log").open("w+") as log:
            command = [sys.executable, str(ROOT / "onesheet.py"), "serve", "--port", str(port), "--json"]
            serving = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert serving.stdout
                # Ray tells of the nodes that died on standard output as well.
                ready = next((said for line in serving.stdout if "url" in (said := parse_result(line))), None)
                assert ready, Path(log.name).read_text()[-3000:]
                with next(self.posters.glob("*.jpg")).open("rb") as file:
                    answer = httpx.post(f"{ready['url']}/v1/predict", files={"image": file}, timeout=60)
                assert answer.status_code == 200, answer.text
                told: dict[str, Any] = answer.json()
                return told
            finally:
                serving.terminate()
                serving.communicate(timeout=60)


def write_catalog(train: Path, path: Path) -> None:
    """The first films of a train.csv with their posters' addresses: without, a crawl reads a page each two seconds."""
    with train.open(newline="") as whole, path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["imdbId", "Imdb Link", "Title", "IMDB Score", "Genre", "Poster"])
        for film in itertools.islice(csv.DictReader(whole), POSTERS):
            name, genres = film["Id"], ast.literal_eval(film["Genre"])
            page, poster = f"http://www.imdb.com/title/{name}", f"https://m.media-amazon.com/images/M/{name}._V1_.jpg"
            rows.writerow([int(name[2:]), page, f"Film {name} (2001)", 6.1, "|".join(genres), poster])


@pytest.fixture(scope="module")
def ground(swift_server: S3Server, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """On a real S3 server, which the nodes reach, as the site of the posters, at the head's address."""
    folder = tmp_path_factory.mktemp("nodes")
    catalog, posters = folder / "films.csv", real_data / "posters" / "Images"
    write_catalog(real_data / "posters" / "train.csv", catalog)
    slowly = Faults.parse("slow=1", slow_s=0.5)
    with (
        pytest.MonkeyPatch.context() as patch,
        running_site(catalog=catalog, posters=posters, faults=slowly) as site,
        gate(site.url, "0.0.0.0") as site_door,
        gate(swift_server.endpoint_url, "0.0.0.0") as store_door,
    ):
        store = fresh_bucket(swift_server, patch) + "/films"
        own = {**swift_server.environment(), "AWS_ENDPOINT_URL_S3": f"http://{{host}}:{store_door.port}"}
        with running_bed(Wanted(nodes=3, cpus_per_node=CPUS, head_cpus=0, environment=own)) as bed:
            environment = {**bed.environment(), "AWS_ENDPOINT_URL_S3": f"http://{bed.host}:{store_door.port}"}
            environment["ONESHEET_REHEARSAL"] = f"http://{bed.host}:{site_door.port}"
            nightly = Nightly(folder, store, catalog, environment)
            found = Ground(bed, nightly, site, posters, nightly.environment)
            yield found
            found.make_whole()


def test_with_a_node_killed_in_every_stage_it_ends_in_a_model_and_an_endpoint_that_answers(
    ground: Ground, real_data: Path
) -> None:
    nightly, workers = ground.nightly, len(ground.bed.workers)
    weights = str(real_data / "weights" / "mobilenet_v2_no_top.weights.h5")
    learner = {"architecture": "mobilenet_v2@96x64", "weights": weights, "epochs": EPOCHS}
    nightly.write(
        {
            "crawl": {"shards": workers},
            "prepare": {"workers": workers},
            "train": {**learner, "workers": workers, "cpus-per-worker": CPUS},
        }
    )
    call = ground.start()
    is_midway = {"crawl": lambda: nightly.posters() > 10, "train": lambda: len(nightly.epochs()) > 1}
    for stage in STAGES:
        nightly.wait_for(call, stage, is_midway.get(stage, lambda: True), timeout_s=300)
        ground.kill_one()
        if stage == "train":
            # The pipeline itself, too: its job runs on, and the next call follows it.
            nightly.kill(call)
            call = ground.start()
    told = nightly.finish(call=call, timeout_s=400)
    assert (told["status"], told["exit_code"]) == ("done", 0), told
    after_the_kill = {"crawl": "skipped", "prepare": "skipped", "train": "continued"}
    assert outcomes(told) == {**dict.fromkeys(STAGES, "ran"), **after_the_kill}
    assert nightly.record.stages["train"].attempts == 1
    assert told["promoted"] is True
    assert Registry(nightly.store).production_or_raise().version == told["version"]
    assert sorted(nightly.epochs()) == list(range(1, EPOCHS + 1))
    # Titles that were in flight on the killed node are asked for again, and no others.
    assert sum(ground.asked()) <= len(ground.asked()) + 64
    assert ground.answer()["version"] == told["version"]


def test_with_a_node_killed_in_a_search_it_ends_in_the_winner_which_is_weighed_against_production(
    ground: Ground,
) -> None:
    nightly = ground.nightly
    space = nightly.file.parent / "space.toml"
    space.write_text(SPACE)
    search = {"space": str(space), "trials": TRIALS, "concurrent": TRIALS, "cpus-per-worker": CPUS}
    workers = len(ground.bed.workers)
    nightly.write({"crawl": {"shards": workers}, "prepare": {"workers": workers}, "tune": search})
    before = len(nightly.epochs())
    call = ground.start()
    nightly.wait_for(call, "tune", lambda: len(nightly.epochs()) > before + 2, timeout_s=400)
    ground.kill_one()
    told = nightly.finish(call=call, timeout_s=400)
    assert (told["status"], told["exit_code"]) == ("done", 0), told
    found = outcomes(told)
    assert {stage: found[stage] for stage in ("tune", "evaluate", "promote")} == dict.fromkeys(
        ("tune", "evaluate", "promote"), "ran"
    )
    result = nightly.record.stages["tune"].result
    assert (nightly.record.stages["tune"].attempts, result["trials"]) == (1, TRIALS)
    registry = Registry(nightly.store)
    assert told["version"] in [card.version for card in registry.versions()]
    assert told["production"] == registry.production_or_raise().version
    assert (told["production"] == told["version"]) == told["promoted"]
    assert ground.answer()["version"] == told["production"]
