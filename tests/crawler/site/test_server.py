"""The server as a process: starting, failing to start, ending."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from crawler.catalogs import open_catalog
from crawler.site.content import SiteContent, SiteError
from crawler.site.drawing import draw_poster
from crawler.site.faults import Faults
from crawler.site.server import running_site
from crawler.titles import Title

ROOT = Path(__file__).resolve().parents[3]
ROWS = """imdbId,Imdb Link,Title,IMDB Score,Genre,Poster
55850,,One (1961),7,Drama,"https://images-na.ssl-images-amazon.com/images/M/MV5Bown@@._V1_UX182_CR0,0,182,268_AL_.jpg"
55851,,Two (1962),6,Comedy,
55852,,Three (1963),5,Horror,
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Three titles: one with its own URL, one without, and one without a file in `posters`."""
    (tmp_path / "catalog.csv").write_text(ROWS)
    (tmp_path / "posters").mkdir()
    for imdb_id in ("tt0055850", "tt0055851"):
        (tmp_path / "posters" / f"{imdb_id}.jpg").write_bytes(draw_poster(Title(imdb_id)))
    return tmp_path / "catalog.csv"


def _get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


def _is_open(url: str) -> bool:
    try:
        return _get(f"{url}/robots.txt").status_code == 200
    except httpx.TransportError:
        return False


def test_a_catalogue_and_its_folder_are_served_under_the_catalogues_own_image_paths(catalog: Path) -> None:
    posters = catalog.parent / "posters"
    with running_site(catalog=catalog, posters=posters) as site:
        assert (site.titles, site.posters) == (3, 2)
        image = _get(f"{site.url}/images/M/MV5Bown@@._V1_.jpg")
        assert image.content == (posters / "tt0055850.jpg").read_bytes()
        listed = SiteContent.from_catalog(catalog, posters).image_url("tt0055851")
        assert listed
        assert (
            _get(site.url + listed.removeprefix("https://m.media-amazon.com")).content
            == (posters / "tt0055851.jpg").read_bytes()
        )
        assert "imdb_logo" in _get(f"{site.url}/title/tt0055852/").text


def test_a_site_is_gone_when_its_block_ends() -> None:
    with running_site(titles=3) as site:
        assert _is_open(site.url)
    assert not _is_open(site.url)


def test_a_site_ends_when_its_parent_is_killed() -> None:
    program = (
        "from crawler.site.server import running_site as r\nwith r(titles=3) as s: print(s.url, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        assert _is_open(url)
        parent.kill()
    deadline = time.monotonic() + 10
    while _is_open(url):
        assert time.monotonic() < deadline, "the site outlived its parent by 10 s"
        time.sleep(0.05)


def test_ctrl_c_ends_the_command_quietly_with_exit_code_0() -> None:
    program = "import typer; from crawler.site.commands import site; typer.run(site)"
    command = [
        sys.executable,
        "-c",
        program,
        "--port",
        "0",
        "--titles",
        "3",
        "--faults",
        "cut=1,tt9900002=drip",
        "--json",
    ]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        url = SiteContent.invented(3).image_url("tt9900001")
        assert url
        with pytest.raises(httpx.RemoteProtocolError):
            _get(ready["url"] + url.removeprefix("https://m.media-amazon.com"))
        with httpx.stream("GET", f"{ready['url']}/title/tt9900002/", trust_env=False) as dripping:
            assert dripping.status_code == 200
            process.send_signal(signal.SIGINT)
            _, remarks = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in remarks
    assert "ERROR" not in remarks
    assert f"ONESHEET_REHEARSAL={ready['url']} scrapy crawl posters -a catalog=" in remarks


def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = rf"cannot listen on 127.0.0.1:{port} \(Address already in use\)"
        with pytest.raises(SiteError, match=sentence), running_site(titles=3, port=port):
            pytest.fail("it started")


def test_the_written_catalogue_reads_back_before_the_first_request(tmp_path: Path) -> None:
    path = tmp_path / "new" / "catalog.csv"
    with running_site(titles=5, write_catalog=path):
        invented = SiteContent.invented(5).titles.values()
        with open_catalog(str(path)) as found:
            assert list(found.rows()) == [replace(title, kind=None) for title in invented]
    assert [entry.name for entry in path.parent.iterdir()] == ["catalog.csv"]


def test_a_bad_catalogue_or_folder_is_told_in_one_sentence(catalog: Path) -> None:
    posters = catalog.parent / "posters"
    with pytest.raises(SiteError, match="no such folder"):
        SiteContent.from_catalog(catalog, catalog.parent / "none")
    with pytest.raises(SiteError, match="--catalog and --posters go together"), running_site(catalog=catalog):
        pytest.fail("it started")
    shutil.rmtree(posters)
    posters.mkdir()
    with pytest.raises(SiteError, match=r"no <imdb_id>.jpg for any of the 3 titles"):
        SiteContent.from_catalog(catalog, posters)


def test_another_revision_changes_every_tenth_poster_and_dates_it_later() -> None:
    urls = {imdb_id: SiteContent.invented(30).image_url(imdb_id) for imdb_id in ("tt9900010", "tt9900011", "tt9900030")}
    paths = {imdb_id: (url or "").removeprefix("https://m.media-amazon.com") for imdb_id, url in urls.items()}
    with running_site(titles=30) as site:
        before = {imdb_id: _get(site.url + path) for imdb_id, path in paths.items()}
    with running_site(titles=30, revision=1) as site:
        for imdb_id, path in paths.items():
            known = before[imdb_id].headers
            by_tag = _get(site.url + path, {"if-none-match": known["etag"]})
            by_date = _get(site.url + path, {"if-modified-since": known["last-modified"]})
            expected = 304 if imdb_id == "tt9900011" else 200
            assert (by_tag.status_code, by_date.status_code) == (expected, expected), imdb_id
            assert (by_tag.content == before[imdb_id].content) is False


def test_a_revision_of_a_folder_changes_the_bytes_of_every_tenth_poster(catalog: Path) -> None:
    posters = catalog.parent / "posters"
    first, second, third = (SiteContent.from_catalog(catalog, posters, revision) for revision in (0, 1, 2))
    tenth = {content.poster_bytes("tt0055850") for content in (first, second, third)}
    assert len(tenth) == 3
    assert {content.poster_bytes("tt0055851") for content in (first, second, third)} == {
        first.poster_bytes("tt0055851")
    }


def test_bad_rules_of_the_apis_are_told_in_one_sentence() -> None:
    with pytest.raises(SiteError, match="tmdb-rate=0 is not valid"), running_site(titles=3, tmdb_rate=0):
        pytest.fail("it started")
    with pytest.raises(SiteError, match="omdb-quota=-1 is not valid"), running_site(titles=3, omdb_quota=-1):
        pytest.fail("it started")


def test_a_share_of_faults_reaches_the_running_site() -> None:
    with running_site(titles=3, faults=Faults.parse("blocked=1")) as site:
        assert _get(f"{site.url}/title/tt9900001/").status_code == 202
