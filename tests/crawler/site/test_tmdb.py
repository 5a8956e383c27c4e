"""TMDB as the rehearsal site answers it, over loopback and pure."""

from __future__ import annotations

import io
import time

import httpx
import pytest
from PIL import Image

from crawler.site.apis import ApiRules
from crawler.site.content import SiteContent
from crawler.site.faults import Fault, Faults
from crawler.site.server import running_site
from crawler.site.tmdb import Tmdb, owner, poster_path
from crawler.titles import Title

FILM, SERIES, EPISODE, GAME, POSTERLESS = "tt9900001", "tt9900004", "tt9900011", "tt9900028", "tt9900007"
LISTS = {"movie_results", "person_results", "tv_results", "tv_episode_results", "tv_season_results"}


def _find(client: httpx.Client, imdb_id: str, token: str | None = "rehearsal", **query: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    return client.get(f"/3/find/{imdb_id}", params={"external_source": "imdb_id"} | query, headers=headers)


def _only(answer: httpx.Response, name: str) -> dict[str, object]:
    """The single result of a list, where all the other lists are empty."""
    results = answer.json()
    assert set(results) == LISTS
    assert {key for key, found in results.items() if found} == {name}
    (found,) = results[name]
    assert isinstance(found, dict)
    return found


def test_a_film_is_found_among_the_films(client: httpx.Client, content: SiteContent) -> None:
    film, title = _only(_find(client, FILM), "movie_results"), content.titles[FILM]
    assert (film["title"], film["original_title"], film["media_type"]) == (title.title, title.title, "movie")
    assert film["release_date"] == f"{title.year}-06-15"
    assert film["genre_ids"] == [18]
    assert film["vote_average"] == title.rating
    assert film["adult"] is False
    assert film["poster_path"] == poster_path(FILM)


def test_a_series_is_found_among_the_series(client: httpx.Client, content: SiteContent) -> None:
    series, title = _only(_find(client, SERIES), "tv_results"), content.titles[SERIES]
    assert (series["name"], series["original_name"], series["media_type"]) == (title.title, title.title, "tv")
    assert series["first_air_date"] == f"{title.year}-06-15"
    assert series["poster_path"] == poster_path(SERIES)


def test_an_episode_has_a_still_and_no_poster(client: httpx.Client) -> None:
    episode = _only(_find(client, EPISODE), "tv_episode_results")
    assert episode["media_type"] == "tv_episode"
    assert episode["still_path"]
    assert "poster_path" not in episode


def test_a_title_without_a_poster_has_a_null_path(client: httpx.Client, faulty: dict[Fault, str]) -> None:
    assert _only(_find(client, POSTERLESS), "movie_results")["poster_path"] is None
    unpictured = _find(client, faulty[Fault.UNPICTURED]).json()
    assert [found["poster_path"] for name in LISTS for found in unpictured[name]] == [None]


@pytest.mark.parametrize("imdb_id", [GAME, "tt1234567", "nonsense", "nm0000001"])
def test_what_tmdb_does_not_know_has_empty_lists(client: httpx.Client, imdb_id: str) -> None:
    answer = _find(client, imdb_id)
    assert (answer.status_code, answer.json()) == (200, {name: [] for name in LISTS})


def test_an_unlisted_title_has_empty_lists_too(client: httpx.Client, faulty: dict[Fault, str]) -> None:
    assert _find(client, faulty[Fault.UNLISTED]).json() == {name: [] for name in LISTS}


@pytest.mark.parametrize("token", [None, "wrong", "rehearsal2"])
def test_a_wrong_or_missing_token_is_401_in_tmdbs_words(client: httpx.Client, token: str | None) -> None:
    answer = _find(client, FILM, token)
    assert answer.status_code == 401
    assert answer.json() == {
        "status_code": 7,
        "status_message": "Invalid API key: You must be granted a valid key.",
        "success": False,
    }


def test_an_id_that_is_not_said_to_be_imdbs_is_422(client: httpx.Client) -> None:
    assert _find(client, FILM, external_source="").status_code == 422


@pytest.mark.parametrize(("size", "width"), [("w342", 342), ("w500", 500), ("w780", 780), ("original", 300)])
def test_an_image_comes_at_the_width_of_its_size(client: httpx.Client, size: str, width: int) -> None:
    answer = client.get(f"/t/p/{size}{poster_path(FILM)}")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.width) == ("JPEG", width)
        assert image.height / image.width == pytest.approx(1.48, abs=0.01)
    known = {"if-none-match": answer.headers["etag"]}
    assert client.get(f"/t/p/{size}{poster_path(FILM)}", headers=known).status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        f"/t/p/w341{poster_path(FILM)}",
        f"/t/p/w342{poster_path(POSTERLESS)}",
        f"/t/p/w342{poster_path('tt1234567')}",
        "/t/p/w342/none.jpg",
    ],
)
def test_an_image_that_is_not_there_is_404(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.BLOCKED, Fault.TRUNCATED, Fault.LOOP, Fault.BOMB])
def test_a_title_that_fails_at_imdb_has_its_poster_at_tmdb(
    client: httpx.Client, content: SiteContent, faulty: dict[Fault, str], fault: Fault
) -> None:
    answer = client.get(f"/t/p/original{poster_path(faulty[fault])}")
    assert answer.content == content.poster_bytes(faulty[fault])


def test_more_requests_a_second_than_the_rate_are_429_and_soon_answered_again() -> None:
    with (
        running_site(titles=3, tmdb_token="other", tmdb_rate=5) as site,
        httpx.Client(base_url=site.url, trust_env=False) as client,
    ):
        answers = [_find(client, FILM, "other") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].json() == {
            "success": False,
            "status_code": 25,
            "status_message": "Your request count (6) is over the allowed limit of 5.",
        }
        assert client.get(f"/t/p/w342{poster_path(FILM)}").status_code == 200  # images have no limit
        time.sleep(1.01)
        assert _find(client, FILM, "other").status_code == 200
        assert _find(client, FILM).status_code == 401


def test_the_rate_slides_over_the_last_second() -> None:
    api = Tmdb(ApiRules(tmdb_rate=2))
    answers = [api.refusal("Bearer rehearsal", at) is None for at in (0.0, 0.9, 0.95, 1.0, 1.5, 1.95)]
    assert answers == [True, True, False, True, False, True]


def test_a_passing_failure_speaks_tmdbs_json() -> None:
    faults = Faults(named={FILM: Fault.UNAVAILABLE, "tt9900002": Fault.RATE_LIMITED})
    with running_site(titles=3, faults=faults) as site, httpx.Client(base_url=site.url, trust_env=False) as client:
        for imdb_id, status, code in ((FILM, 503, 9), ("tt9900002", 429, 25)):
            first, second = (_find(client, imdb_id) for _ in range(2))
            assert (first.status_code, first.json()["status_code"]) == (status, code)
            assert second.status_code == 200


@pytest.mark.parametrize("imdb_id", ["tt0000001", "tt0055850", "tt9900001", "tt12345678"])
def test_the_name_of_an_image_leads_back_to_its_title(imdb_id: str) -> None:
    name = poster_path(imdb_id).removeprefix("/")
    assert owner(name) == imdb_id
    assert owner(name.upper()) is None
    assert owner("0" + name[1:]) in (None, imdb_id)


def test_a_genre_that_tmdb_does_not_have_is_left_out() -> None:
    body = Tmdb(ApiRules()).find(Title("tt0000001", genres=("Short", "Drama")), has_poster=True).body
    assert body["movie_results"][0]["genre_ids"] == [18]
