"""The whole of serving for real: Ray Serve, and the page in a headless Chromium."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.errors import ServingError
from cluster.settings import Settings, load_settings
from cluster.store import FolderStore
from serving.endpoint import Endpoint, options_for, running
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.keys import Keys
from serving.thumbnails import Thumbnails
from tests.serving.conftest import Poster, Site, register_tiny, running_app
from training.registry import Registry

pytestmark = pytest.mark.slow

# Far above what the tests before the last one ask for.
RATE = 400
HERE = ipaddress.ip_network("127.0.0.1/32")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """v1 in production, v2 beside it."""
    folder = tmp_path_factory.mktemp("serving")
    registry = Registry(FolderStore(folder / "store"))
    for version in ("v1", "v2"):
        register_tiny(registry, folder / version, version, has_index=True)
    registry.promote("v1")
    return registry


@pytest.fixture(scope="module")
def settings(registry: Registry) -> Settings:
    return load_settings(store=registry.store.url, ray_address="local", max_poster_bytes=100_000)


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def endpoint(settings: Settings, port: int) -> Iterator[Endpoint]:
    given = options_for(settings, min_replicas=1, max_replicas=1, fetch_urls=True, show_posters=True)
    changes = {"poll_interval_s": 0.3, "url_networks": (HERE,), "rate_limit": f"{RATE}/minute"}
    with running(given.model_copy(update=changes), settings, host="127.0.0.1", port=port) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, endpoint: Endpoint) -> Iterator[Any]:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(endpoint.url)
    page.wait_for_selector("#model strong")
    yield page
    page.close()
    assert errors == []


def wait_for_version(endpoint: Endpoint, version: str) -> None:
    deadline = time.monotonic() + 30
    while httpx.get(f"{endpoint.url}/readyz").json()["version"] != version:
        assert time.monotonic() < deadline, f"{version} is still not served"
        time.sleep(0.1)


def wait_for_pictures(page: Any) -> None:
    page.wait_for_selector("#alike:not(:has(.thumb:not([src]))) .thumb")
    assert page.evaluate(
        "Promise.all([...document.querySelectorAll('.thumb')].map((it) => it.decode())).then(() => true)"
    )


def test_a_picked_poster_gets_its_bars(page: Any, poster: Poster) -> None:
    page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
    page.wait_for_selector("#bars li.passes")
    assert page.inner_text("#status").startswith("Red, read in")
    assert page.locator("#bars li").count() == 3
    meter = page.get_by_role("meter", name="Red")
    assert meter.get_attribute("aria-valuenow") == "98"
    assert meter.get_attribute("aria-valuetext") == "98 percent, counts from 50 percent: yes"
    assert page.locator("#preview").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_genre_shows_where_it_is_seen_and_hides_it_again(page: Any, poster: Poster) -> None:
    page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
    page.wait_for_selector("#bars li.passes")
    genre = page.get_by_role("button", name="Red", exact=True)
    genre.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#heat:visible")
    assert page.inner_text("#looking") == "Aglow on the poster: what speaks for Red."
    assert genre.get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.getElementById('heat').decode().then(() => true)")
    covered = page.evaluate(
        """["preview", "heat"].map((id) => {
            const box = document.getElementById(id).getBoundingClientRect();
            return [box.x, box.y, box.width, box.height].map(Math.round);
        })"""
    )
    assert covered[0] == covered[1]
    page.keyboard.press("Enter")
    assert not page.locator("#heat").is_visible()
    genre.click()
    page.wait_for_selector("#heat:visible")
    page.set_input_files("#pick", {"name": "blue.jpg", "mimeType": "image/jpeg", "buffer": poster("blue")})
    page.wait_for_selector("#status strong:has-text('Blue')")
    assert not page.locator("#heat").is_visible(), "another poster has another heat map"


def test_similar_posters_are_shown_with_their_titles_and_go_with_the_poster(page: Any, poster: Poster) -> None:
    page.set_input_files("#pick", {"name": "navy.jpg", "mimeType": "image/jpeg", "buffer": poster("navy")})
    region = page.get_by_role("region", name="Posters like it")
    region.get_by_role("listitem").first.wait_for()
    assert region.get_by_role("listitem").count() == 6
    assert region.get_by_role("listitem").first.inner_text().split() == ["The", "navy", "film", "1960", "1.00", "Navy"]
    wait_for_pictures(page)
    assert page.evaluate("[...document.querySelectorAll('.thumb')].every((it) => it.src.startsWith('blob:'))")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
    page.wait_for_selector("#alike li:first-child:has-text('The red film')")
    assert region.get_by_role("listitem").count() == 6
    page.set_input_files("#pick", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    page.wait_for_selector("#error:visible")
    assert not region.is_visible()


def test_the_models_card_opens_by_keyboard_and_its_tables_can_be_scrolled(page: Any) -> None:
    summary = page.locator("#card summary")
    assert summary.get_by_role("heading", name="The model's card", level=2).is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#card-text table")
    assert page.locator("#card-text").get_by_role("heading", level=3).first.inner_text() == "How to use"
    assert page.get_by_role("cell", name="macro mAP").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "wide"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#card summary").focus()
    page.keyboard.press("Enter")
    assert not page.locator("#card-text").is_visible()


def test_without_pictures_there_are_titles_and_without_an_index_neither(
    chromium: Any, registry: Registry, poster: Poster, tmp_path: Path
) -> None:
    bare = Registry(FolderStore(tmp_path / "store"))
    register_tiny(bare, tmp_path / "old", "old")
    for served, is_found in ((registry, True), (bare, False)):
        served.promote("v1" if is_found else "old")
        follower = Follower(served, poll_interval_s=60, max_pixels=100_000)
        with running_app(build_api(follower, Limits(max_upload_bytes=100_000))) as url:
            page = chromium.new_page(color_scheme="dark")
            page.goto(url)
            page.wait_for_selector("#model strong")
            page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
            page.wait_for_selector("#alike.bare li" if is_found else "#bars li.passes")
            assert page.locator("#similar").is_visible() is is_found
            assert page.locator(".thumb").count() == 0
            page.close()


def test_a_poster_by_its_address_gets_its_picture_its_bars_and_its_heat(page: Any, site: Site, poster: Poster) -> None:
    site.answers = {"/posters/red.jpg": poster("red")}
    page.fill("#url", site.url("/posters/red.jpg"))
    page.press("#url", "Enter")
    page.wait_for_selector("#preview:visible")
    assert page.inner_text("#status").startswith("Red, read in")
    assert page.inner_text("#name") == "red.jpg"
    page.get_by_role("button", name="Red", exact=True).click()
    page.wait_for_selector("#heat:visible")
    page.fill("#url", "http://169.254.169.254/latest/meta-data/")
    page.press("#url", "Enter")
    page.wait_for_selector("#error:visible")
    assert "no public host answers there" in page.inner_text("#error")
    assert not page.locator("#preview").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_asks_its_user_for_a_key_where_the_server_wants_one(
    chromium: Any, registry: Registry, poster: Poster
) -> None:
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    thumbnails = Thumbnails(registry.store, max_bytes=100_000, max_pixels=100_000)
    limits = Limits(max_upload_bytes=100_000, keys=Keys({"alice": "0123456789abcdef"}), thumbnails=thumbnails)
    with running_app(build_api(follower, limits)) as url:
        page = chromium.new_page()
        page.goto(url)
        page.wait_for_selector("#by-key:visible")
        assert not page.locator("#by-url").is_visible()
        page.get_by_label("This server asks for an API key").fill("0123456789abcdef")
        page.keyboard.press("Enter")
        page.wait_for_selector("#model strong")
        assert not page.locator("#by-key").is_visible()
        page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
        page.wait_for_selector("#bars li.passes")
        page.wait_for_selector("#alike li")
        wait_for_pictures(page)
        page.close()


def test_requests_and_what_posters_were_told_are_metrics(endpoint: Endpoint, poster: Poster) -> None:
    import ray

    files = [("image", ("1.jpg", poster("red"))), ("image", ("2.txt", b"hello"))]
    answer = httpx.post(f"{endpoint.url}/v1/predict", files=files, headers={"X-Request-ID": "from-a-test"})
    assert answer.headers["X-Request-ID"] == "from-a-test"
    version = answer.json()["version"]
    [node] = ray.nodes()
    metrics = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    wanted = [
        r'ray_onesheet_requests_total\{[^}]*path="/v1/predict"[^}]*status="200"',
        rf'ray_onesheet_posters_total\{{[^}}]*outcome="refused"[^}}]*version="{version}"',
        rf'ray_onesheet_genres_total\{{[^}}]*genre="Red"[^}}]*version="{version}"',
        r"ray_onesheet_decode_ms_bucket",
        r"ray_onesheet_predict_ms_bucket",
    ]
    deadline = time.monotonic() + 60
    while missing := [pattern for pattern in wanted if not re.search(pattern, httpx.get(metrics).text)]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.5)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_dropped_or_pasted_poster_gets_its_bars(page: Any, poster: Poster, way: str) -> None:
    page.evaluate(
        """([data, way]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "blue.jpg", { type: "image/jpeg" }));
            document.body.dispatchEvent(way === "drop"
                ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
        }""",
        [base64.b64encode(poster("blue")).decode(), way],
    )
    page.wait_for_selector("#bars li.passes")
    assert page.inner_text("#status").startswith("Blue, read in")


def test_the_keyboard_reaches_the_poster_picker(page: Any) -> None:
    # Listening before the first key: Playwright turns interception on without waiting, and would lose the event.
    page.on("filechooser", lambda chooser: None)
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "pick":
            break
    with page.expect_file_chooser():
        page.keyboard.press("Enter")


def test_what_is_no_image_is_told_in_words(page: Any) -> None:
    page.set_input_files("#pick", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"})
    page.wait_for_selector("#error:visible")
    assert "This file is not a picture" in page.inner_text("#error")
    assert not page.locator("#bars").is_visible()


def test_a_file_over_the_limit_is_refused_by_the_page_and_by_the_server(page: Any, endpoint: Endpoint) -> None:
    page.set_input_files("#pick", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"x" * 200_000})
    page.wait_for_selector("#error:visible")
    assert "the server takes up to 0.1 MB" in page.inner_text("#error")
    answer = httpx.post(f"{endpoint.url}/v1/predict", files={"image": b"x" * 200_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_page_shows_the_model_and_its_worth_beside_guessing(page: Any) -> None:
    page.wait_for_selector("#worth:visible")
    assert "0.375, guessing by frequency 0.102" in page.inner_text("#worth")


def test_a_promotion_is_served_without_a_restart_and_a_broken_one_is_not(
    page: Any, endpoint: Endpoint, registry: Registry, poster: Poster, tmp_path: Path
) -> None:
    registry.promote("v2")
    wait_for_version(endpoint, "v2")
    page.set_input_files("#pick", {"name": "red.jpg", "mimeType": "image/jpeg", "buffer": poster("red")})
    page.wait_for_selector("#model strong:has-text('v2')")
    # v1, which served before, is still in memory.
    register_tiny(registry, tmp_path / "v3", "v3")
    registry.store.put("models/v3/model.keras", b"damaged")
    registry.promote("v3")
    deadline = time.monotonic() + 30
    while not (refused := httpx.get(f"{endpoint.url}/v1/model").json()["refused"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert refused["version"] == "v3"
    assert httpx.get(f"{endpoint.url}/readyz").json()["version"] == "v2"


def test_a_second_server_on_the_same_port_is_refused(settings: Settings, endpoint: Endpoint, port: int) -> None:
    options = options_for(settings, min_replicas=1, max_replicas=1)
    with (
        pytest.raises(ServingError, match=f"port {port}: Address already in use"),
        running(options, settings, host="127.0.0.1", port=port),
    ):
        pass


def test_a_second_server_on_the_same_ray_cluster_is_refused(settings: Settings, endpoint: Endpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
    options = options_for(settings, min_replicas=1, max_replicas=1)
    with (
        pytest.raises(ServingError, match="Ray Serve runs already on this cluster"),
        running(options, settings, host="127.0.0.1", port=other),
    ):
        pass
    assert httpx.get(f"{endpoint.url}/readyz").status_code == 200


def test_who_asks_too_often_is_turned_away(endpoint: Endpoint) -> None:
    """The last one here: whoever asks after it, within the minute, is turned away too."""
    with httpx.Client() as client:
        for _ in range(RATE + 1):
            answer = client.get(f"{endpoint.url}/v1/genres")
            if answer.status_code != 200:
                break
        assert answer.status_code == 429
        assert answer.json()["detail"] == "127.0.0.1 asks too often; ask again later"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert client.get(f"{endpoint.url}/readyz").status_code == 200
