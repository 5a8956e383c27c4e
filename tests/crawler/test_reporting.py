"""`onesheet crawl report`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.errors import CrawlerError, StoreError
from cluster.settings import load_settings
from cluster.store import FolderStore
from crawler.outcomes import Reason
from crawler.reporting import read_report, secrets_of, write_report
from onesheet import app
from tests.crawler.report_ledgers import crawl_of, rejected, stored

ROWS = [stored(1), stored(2, bytes=70_000), rejected(3), rejected(4, Reason.TIMEOUT)]


def test_the_command_shows_the_sums_and_says_where_the_page_is(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 6, ROWS)
    shown = CliRunner().invoke(app, ["crawl", "report", "--store", str(tmp_path / "store")])
    assert shown.exit_code == 0, shown.output
    assert "6 titles = 2 stored + 2 rejected + 2 open" in shown.stdout
    assert shown.stdout.rstrip().endswith(crawl.store.url_of(f"crawls/{crawl.crawl_id}/report.png"))
    assert crawl.store.get(f"crawls/{crawl.crawl_id}/report.html").startswith(b"<!doctype html>")
    assert crawl.store.get(f"crawls/{crawl.crawl_id}/report.png").startswith(b"\x89PNG")


def test_with_json_the_last_line_has_everything(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 6, ROWS)
    arguments = ["crawl", "report", crawl.crawl_id, "--store", str(tmp_path / "store"), "--json"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    (line,) = shown.stdout.splitlines()
    found = json.loads(line)
    assert (found["crawl_id"], found["titles"], found["stored"], found["rejected"], found["open"]) == (
        crawl.crawl_id, 6, 2, 2, 2
    )  # fmt: skip
    assert {reason["reason"]: reason["titles"] for reason in found["reasons"]} == {"not_found": 1, "timeout": 1}
    assert (found["bytes"]["least"], found["bytes"]["most"], found["total_bytes"]) == (50_001, 70_000, 120_001)
    assert {"rows", "rejected_rows", "duplicate_rows", "sources", "formats", "width_px", "height_px", "duplicates"} < {
        *found
    }
    assert {"pace", "hosts", "slow_hosts", "error_rate", "images_per_s", "bytes_per_s", "sentence"} < {*found}
    assert found["html"] == str(tmp_path / "out" / "report.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.png"]


def test_the_report_stays_out_of_the_way_of_the_crawl(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 6, ROWS)
    before = read_report(crawl.store)
    write_report(before, crawl.store)
    assert read_report(crawl.store).sentence == before.sentence
    assert CliRunner().invoke(app, ["crawls", "--store", str(tmp_path / "store")]).exit_code == 0


@pytest.mark.parametrize("failing", ["report.html", "report.png"])
def test_a_file_is_replaced_whole_or_not_at_all(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl = crawl_of(tmp_path, 6, ROWS)
    report = read_report(crawl.store)
    write_report(report, crawl.store)
    folder = tmp_path / "store" / "crawls" / crawl.crawl_id
    before = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    replace = __import__("os").replace

    def full(source: str, target: str) -> None:
        if target.endswith(failing):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StoreError, match="no space left"):
        write_report(report, crawl.store)
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")}.keys() == before.keys()
    assert (folder / failing).read_bytes() == before[failing]
    assert not list(folder.glob(".*")), "a part was left behind"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "has no crawl; start one with `onesheet crawl CATALOG`"),
        (["nope"], "'nope'"),
        (["../x"], "crawl id '../x'"),
    ],
)
def test_a_crawl_that_is_not_there_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, finish: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    run = finish("onesheet", "crawl", "report", *arguments, "--store", tmp_path)
    assert run.returncode == 1
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_the_keys_in_the_settings_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESHEET_TMDB_TOKEN", "open-sesame")
    monkeypatch.setenv("ONESHEET_OMDB_KEY", "k3y-of-omdb")
    crawl = crawl_of(tmp_path, 2, [rejected(1, Reason.QUOTA, detail="open-sesame is no key, nor is k3y-of-omdb")])
    for words in (["--json"], []):
        shown = CliRunner().invoke(app, ["crawl", "report", "--store", str(tmp_path / "store"), *words])
        assert shown.exit_code == 0
        assert "sesame" not in shown.output
        assert "k3y" not in shown.output
    page = crawl.store.get(f"crawls/{crawl.crawl_id}/report.html").decode()
    assert "… is no key, nor is …" in page
    assert "sesame" not in page
    assert sorted(secrets_of(load_settings())) == ["k3y-of-omdb", "open-sesame"]


def test_a_store_without_a_whole_catalogue_has_no_crawl(tmp_path: Path) -> None:
    crawl = crawl_of(tmp_path, 2, [stored(1)])
    crawl.store.delete(f"crawls/{crawl.crawl_id}/catalog.json")
    with pytest.raises(CrawlerError, match="has no crawl"):
        read_report(FolderStore(tmp_path / "store"))
