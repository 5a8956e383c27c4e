"""OMDb as the rehearsal site answers it."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from crawler.site.content import SiteContent
from crawler.site.faults import Fault
from crawler.site.server import Site, running_site

FILM, SERIES, EPISODE, GAME, POSTERLESS = "tt9900001", "tt9900004", "tt9900011", "tt9900028", "tt9900007"


def _ask(client: httpx.Client, imdb_id: str, key: str | None = "rehearsal") -> httpx.Response:
    return client.get("/", params={"i": imdb_id} | ({"apikey": key} if key is not None else {}))


def test_a_title_is_told_with_a_poster_that_the_site_serves(client: httpx.Client, content: SiteContent) -> None:
    answer, title = _ask(client, FILM), content.titles[FILM]
    told = answer.json()
    assert (answer.status_code, told["Response"], told["imdbID"], told["Type"]) == (200, "True", FILM, "movie")
    assert (told["Title"], told["Year"], told["Genre"]) == (title.title, str(title.year), ", ".join(title.genres))
    assert told["imdbRating"] == f"{title.rating:.1f}"
    assert told["Poster"].startswith("https://m.media-amazon.com/images/M/MV5B")
    assert told["Poster"].endswith("._V1_SX300.jpg")
    assert client.get(urlsplit(told["Poster"]).path).content == content.poster_bytes(FILM)


@pytest.mark.parametrize(
    ("imdb_id", "kind"), [(FILM, "movie"), (SERIES, "series"), (EPISODE, "episode"), (GAME, "game")]
)
def test_each_kind_has_its_type(client: httpx.Client, imdb_id: str, kind: str) -> None:
    told = _ask(client, imdb_id).json()
    assert told["Type"] == kind
    assert ("totalSeasons" in told, told["Year"].endswith("–")) == (kind == "series",) * 2  # noqa: RUF001


def test_a_title_without_a_poster_has_none(client: httpx.Client, faulty: dict[Fault, str]) -> None:
    assert [_ask(client, imdb_id).json()["Poster"] for imdb_id in (POSTERLESS, faulty[Fault.UNPICTURED])] == ["N/A"] * 2


@pytest.mark.parametrize(
    ("imdb_id", "sentence"),
    [("tt1234567", "Error getting data."), ("nonsense", "Incorrect IMDb ID."), ("", "Incorrect IMDb ID.")],
)
def test_what_is_unknown_is_told_with_200(client: httpx.Client, imdb_id: str, sentence: str) -> None:
    answer = _ask(client, imdb_id)
    assert (answer.status_code, answer.json()) == (200, {"Response": "False", "Error": sentence})


def test_an_unlisted_title_is_unknown(client: httpx.Client, faulty: dict[Fault, str]) -> None:
    assert _ask(client, faulty[Fault.UNLISTED]).json()["Error"] == "Error getting data."


@pytest.mark.parametrize(
    ("key", "sentence"),
    [("wrong", "Invalid API key!"), (None, "No API key provided."), ("", "No API key provided.")],
)
def test_a_wrong_or_missing_key_is_401(client: httpx.Client, key: str | None, sentence: str) -> None:
    answer = _ask(client, FILM, key)
    assert (answer.status_code, answer.json()) == (401, {"Response": "False", "Error": sentence})


def test_without_an_id_the_same_path_is_the_index(client: httpx.Client) -> None:
    assert "Rehearsal site" in client.get("/", params={"apikey": "rehearsal"}).text


def test_the_quota_ends_the_answers_of_the_right_key_and_a_reset_does_not_renew_it() -> None:
    with (
        running_site(titles=3, omdb_key="other", omdb_quota=2) as site,
        httpx.Client(base_url=site.url, trust_env=False) as client,
    ):
        assert _ask(client, FILM).json()["Error"] == "Invalid API key!"  # which costs the right key nothing
        assert [_ask(client, FILM, "other").status_code for _ in range(2)] == [200, 200]
        site.reset()
        answer = _ask(client, FILM, "other")
        assert (answer.status_code, answer.json()["Error"]) == (401, "Request limit reached!")


def test_requests_are_counted_by_id_and_without_the_key(site: Site, client: httpx.Client) -> None:
    site.reset()
    for imdb_id in (FILM, FILM, SERIES):
        _ask(client, imdb_id)
    assert site.requests() == {f"/?i={FILM}": 2, f"/?i={SERIES}": 1}
