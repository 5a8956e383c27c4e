"""Crawls that are killed or interrupted in the middle, and go on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster.store import FolderStore
from crawler.crawl import list_crawls
from crawler.ledger import done_titles, read_ledger
from crawler.site.faults import Faults
from crawler.site.server import running_site

Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[..., subprocess.CompletedProcess[str]]
NAME = "films"


def _wait_until(process: subprocess.Popen[str], is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert process.poll() is None, f"the crawl ended too early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _scrapy(catalog: Path, store: Path) -> tuple[str, ...]:
    return (
        "scrapy",
        "crawl",
        "posters",
        *("-a", f"catalog={catalog}", "-a", f"store={store}", "-a", f"crawl_id={NAME}"),
    )


@pytest.mark.slow
def test_resume_after_sigkill_has_every_title_once_and_fetches_no_stored_poster_again(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog, store = tmp_path / "films.csv", FolderStore(tmp_path / "store")
    # Slow enough to be killed behind the first segment, which comes after three seconds.
    with running_site(titles=300, faults=Faults.parse("slow=1", slow_s=0.3), write_catalog=catalog) as site:
        with start(*_scrapy(catalog, store.root), rehearsal=site.url) as process:
            _wait_until(process, lambda: done_titles(store, NAME))
            process.kill()
            process.communicate()
        assert list_crawls(store) == []
        kept = {row["imdb_id"]: row for row in read_ledger(store, NAME).to_pylist() if row["outcome"] == "stored"}
        assert 0 < len(kept) < 290

        run = finish(*_scrapy(catalog, store.root), rehearsal=site.url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    rows = read_ledger(store, NAME).to_pylist()
    (summary,) = list_crawls(store)
    assert len(rows) == len({row["imdb_id"] for row in rows}) == 300
    assert (summary["stored"] + summary["rejected"], summary["open"]) == (300, 0)
    stored = {row["imdb_id"]: row for row in rows if row["outcome"] == "stored"}
    assert {f"posters/{imdb_id}.jpg" for imdb_id in stored} == set(store.list("posters/"))
    assert {imdb_id: stored[imdb_id] for imdb_id in kept} == kept
    assert {requests[urlsplit(row["url"]).path] for row in kept.values()} == {1}
    assert max(requests.values()) <= 2


def test_ctrl_c_ends_a_crawl_with_a_summary_and_the_next_run_completes_it(
    tmp_path: Path, start: Start, finish: Finish
) -> None:
    catalog, store = tmp_path / "films.csv", FolderStore(tmp_path / "store")
    command = ("onesheet", "crawl", catalog, "--store", store.root, "--crawl-id", NAME, "--json")
    with running_site(titles=50, faults=Faults.parse("slow=1", slow_s=0.4), write_catalog=catalog) as site:
        with start(*command, rehearsal=site.url) as process:
            _wait_until(process, lambda: list(store.list("posters/")))
            process.send_signal(signal.SIGINT)
            out, remarks = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "Traceback" not in remarks
        assert json.loads(out.splitlines()[-1])["error"].endswith("run the same command again to go on")
        (summary,) = list_crawls(store)
        assert (summary["finish_reason"], summary["finished"]) == ("shutdown", False)
        assert summary["stored"] == len(list(store.list("posters/"))) > 0
        assert summary["open"] == 50 - summary["stored"] - summary["rejected"] > 0

        run = finish(*_scrapy(catalog, store.root), rehearsal=site.url)
        requests = site.requests()
    assert run.returncode == 0, run.stderr
    (summary,) = list_crawls(store)
    assert (summary["stored"], summary["rejected"], summary["open"]) == (49, 1, 0)
    assert {count for path, count in requests.items() if path.startswith("/images/")} == {1}
