"""The spider as Scrapy's users know it: arguments, exports, contracts, shell, and exit codes."""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import OnesheetError
from crawler.options import read_options
from crawler.plan import make_plan
from crawler.site.content import SiteContent
from crawler.site.server import Site, running_site
from tests.crawler.conftest import ROOT
from tests.crawler.harvests import (
    HEADER,
    Finish,
    Harvest,
    assert_fails_in_one_sentence,
    crawl,
    last_json,
    write_ids,
)

_TITLES = SiteContent.invented(12)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(titles=12) as found:
        yield found


def test_a_crawl_from_a_gzipped_pipe_needs_no_file(site: Site, tmp_path: Path, finish: Finish) -> None:
    """`cat ids.txt.gz | onesheet crawl -`."""
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress("\n".join(_TITLES.titles).encode()))
    command = ("crawl", "-", "--store", tmp_path / "store", "--json")
    run = finish("onesheet", *command, stdin=tmp_path / "ids.txt.gz", rehearsal=site.url)
    assert run.returncode == 0, run.stderr
    assert last_json(run)["crawl_id"].startswith("stdin-")
    Harvest(tmp_path / "store").assert_whole(12)


def test_scrapys_stats_count_requests_answers_items_and_outcomes(site: Site, tmp_path: Path, finish: Finish) -> None:
    catalog = write_ids(tmp_path / "ids.txt", _TITLES.titles)
    command = ("crawl", "posters", "-a", f"catalog={catalog}", "-a", f"store={tmp_path / 'store'}", "-L", "INFO")
    run = finish("scrapy", *command, rehearsal=site.url)
    assert run.returncode == 0, run.stderr
    stats = dict(re.findall(r"'([a-z_/0-9]+)': (\d+)", run.stderr.partition("Dumping Scrapy stats")[2]))
    stored = sum(path.stat().st_size for path in (tmp_path / "store" / "posters").iterdir())
    assert int(stats["item_scraped_count"]) == 12
    assert (int(stats["titles/stored"]), int(stats["titles/no_poster"])) == (11, 1)
    assert int(stats["posters/bytes"]) == stored
    # robots.txt, a page a title, and a poster of each but one.
    assert int(stats["downloader/request_count"]) == int(stats["downloader/response_count"]) >= 24
    # Without robots.txt, which a middleware asks for by itself.
    assert 23 <= int(stats["response_received_count"]) <= int(stats["downloader/response_count"])


def test_the_bare_spider_of_a_foreign_script_makes_its_own_plan(site: Site, tmp_path: Path, finish: Finish) -> None:
    """As with any spider of Scrapy's: `CrawlerProcess.crawl(PostersSpider, catalog=…)`."""
    catalog = write_ids(tmp_path / "ids.txt", _TITLES.titles)
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from scrapy.crawler import AsyncCrawlerProcess\n"
        "from scrapy.utils.project import get_project_settings\n"
        "from crawler.spiders.posters import PostersSpider\n"
        "process = AsyncCrawlerProcess(get_project_settings())\n"
        "process.crawl(PostersSpider, catalog=sys.argv[1], store=sys.argv[2])\n"
        "process.start()\n"
    )
    path = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    run = finish("script", catalog, tmp_path / "store", env=path, rehearsal=site.url)
    assert run.returncode == 0, run.stderr
    Harvest(tmp_path / "store").assert_whole(12)


def test_a_setting_of_the_user_goes_before_the_projects(site: Site, tmp_path: Path, finish: Finish) -> None:
    catalog = write_ids(tmp_path / "ids.txt", ["tt9900001"])
    given = ("-s", "USER_AGENT=harvester/7", "-L", "ERROR")
    run = crawl(finish, catalog, tmp_path / "store", *given, rehearsal=site.url, contact="me@example.org")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "scrapy crawl posters: no catalogue; give one with -a catalog=PATH"),
        (["catalog=none.csv"], "scrapy crawl posters: catalogue none.csv: No such file or directory"),
        (["catalog=none.csv", "colour=red"], "scrapy crawl posters: there is no option 'colour'; the crawl's are "),
    ],
)
def test_a_bad_argument_is_one_sentence_and_no_traceback(finish: Finish, arguments: list[str], sentence: str) -> None:
    run = finish("scrapy", "crawl", "posters", *(text for argument in arguments for text in ("-a", argument)))
    assert_fails_in_one_sentence(run, sentence)


@pytest.mark.parametrize(
    ("settings", "arguments", "sentence"),
    [
        ({}, {"catalog": ""}, "no catalogue; give one with -a catalog=PATH"),
        ({}, {"catalog": "", "crawl_id": "never-begun"}, "has no catalogue of a crawl 'never-begun'"),
        ({}, {"sources": "page"}, "crawling www.imdb.com needs a contact for the user agent: set ONESHEET_CONTACT"),
        ({}, {"crawl_id": "A b"}, "crawl id 'A b': use lower-case letters"),
        ({}, {"height": "tall"}, "height='tall' is not valid"),
        ({}, {"max_titles": "0"}, "max_titles='0' is not valid"),
        ({}, {"images": "no/folder"}, "images no/folder: no such folder"),
        ({}, {"sources": "tmdb"}, "source tmdb needs a token: set ONESHEET_TMDB_TOKEN"),
        ({}, {"sources": "netflix"}, "there is no source 'netflix'"),
        ({"PAGE_URL": "https://h/{id}"}, {}, "ONESHEET_PAGE_URL='https://h/{id}' needs the place {imdb_id}"),
        ({"PAGE_URL": "https://h/"}, {}, "ONESHEET_PAGE_URL='https://h/' needs the place {imdb_id}"),
        ({"REQUEST_TIMEOUT_S": "soon"}, {}, "ONESHEET_REQUEST_TIMEOUT_S='soon' is not valid"),
    ],
)
def test_what_could_never_work_is_told_before_the_first_request(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    arguments: dict[str, str],
    sentence: str,
) -> None:
    for name in ("CONTACT", "REHEARSAL", "TMDB_TOKEN", "OMDB_KEY", "PAGE_URL", "REQUEST_TIMEOUT_S"):
        monkeypatch.delenv(f"ONESHEET_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"ONESHEET_{name}", value)
    (tmp_path / "films.csv").write_text(HEADER + "1,,One,1,Drama,\n")
    given = {"catalog": str(tmp_path / "films.csv"), "store": str(tmp_path / "store")} | arguments
    with pytest.raises(OnesheetError) as caught:
        make_plan(read_options(**given))
    assert sentence in str(caught.value)


def test_scrapy_lists_the_spider_and_shows_settings(finish: Finish) -> None:
    run = finish("scrapy", "list")
    assert (run.returncode, run.stdout.split()) == (0, ["posters"]), run.stderr
    run = finish("scrapy", "settings", "--get", "BOT_NAME")
    assert (run.returncode, run.stdout.strip()) == (0, "onesheet"), run.stderr


def test_scrapy_shell_fetches_through_the_projects_middlewares(site: Site, finish: Finish) -> None:
    run = finish("scrapy", "shell", f"{site.url}/title/tt9900001/", "-c", "response.status")
    assert (run.returncode, run.stdout.strip().splitlines()[-1]) == (0, "200"), run.stderr


def test_scrapy_parse_shows_what_a_title_page_tells(site: Site, finish: Finish) -> None:
    url = f"{site.url}/title/tt9900001/"
    run = finish("scrapy", "parse", url, "--spider", "posters", "--nolinks", "--nocolour")
    assert run.returncode == 0, run.stderr
    assert repr(_TITLES.titles["tt9900001"].title) in run.stdout
    assert "'is_title': True" in run.stdout


def test_scrapy_check_passes_the_spiders_contracts_beside_a_site_on_its_usual_port(finish: Finish) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if probe.connect_ex(("127.0.0.1", 8900)) == 0:
            pytest.skip("something listens on port 8900 already")
    with running_site(titles=3, port=8900):
        run = finish("scrapy", "check", "posters", "--verbose")
    assert run.returncode == 0, run.stderr
    assert "[posters] parse (@returns post-hook) ... ok" in run.stderr
    assert "FAILED" not in run.stderr
