"""What a replica tells of drift: nothing for a while, then the truth."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from crawler.outcomes import Rejected
from serving.drift import DriftWatch
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.model_metrics import ModelMetrics
from serving.predictor import Predictor
from tests.serving.conftest import Register, tiny_model
from training.bundle import BundleCard, write_bundle
from training.drift import reference_of
from training.registry import Registry

WINDOW = 160
Change = Callable[[Image.Image], Image.Image]


def posters(seed: int, count: int, change: Change = lambda image: image) -> list[bytes]:
    """Soft coloured clouds, no two alike."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (12, 8, 3), dtype=np.uint8))
        sink = io.BytesIO()
        change(noise.resize((96, 144), Image.Resampling.BICUBIC)).save(sink, "JPEG", quality=95)
        found.append(sink.getvalue())
    return found


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> BundleCard:
    """A card with the reference of such posters, as training would have kept it."""
    folder = tmp_path_factory.mktemp("bundle")
    bare = BundleCard(
        version="v1",
        architecture="tiny",
        genres=("Red", "Green", "Blue"),
        thresholds=(0.5, 0.5, 0.9),
        height_px=24,
        width_px=16,
    )
    told = Predictor.load(folder, write_bundle(folder, tiny_model(), bare)).predict(posters(0, 400))
    scored = [it for it in told if not isinstance(it, Rejected)]
    scores = np.array([[{g.genre: g.score for g in it.genres}[name] for name in bare.genres] for it in scored])
    inputs = np.array([it.inputs for it in scored])
    reference = reference_of(bare.genres, scores, bare.thresholds, inputs, max_height_px=640)
    return bare.model_copy(update={"reference": reference})


@pytest.fixture
def watch() -> DriftWatch:
    return DriftWatch(window=WINDOW)


@pytest.fixture
def follower(registry: Registry, register: Register, card: BundleCard, watch: DriftWatch) -> Follower:
    register("v1", reference=card.reference)
    registry.promote("v1")
    return Follower(registry, poll_interval_s=60, max_pixels=100_000)


@pytest.fixture
def client(follower: Follower, watch: DriftWatch) -> Iterator[TestClient]:
    limits = Limits(max_upload_bytes=5_000_000, max_posters=WINDOW, listeners=(watch,), drift=watch)
    with TestClient(build_api(follower, limits)) as client:
        yield client


def send(client: TestClient, found: list[bytes]) -> None:
    answer = client.post("/v1/predict", files=[("image", data) for data in found])
    assert answer.status_code == 200


def test_posters_of_the_same_kind_are_no_drift_and_too_few_are_no_answer(client: TestClient) -> None:
    send(client, posters(1, 99))
    [model] = client.get("/v1/drift").json()["models"]
    assert (model["version"], model["posters"], model["genres"]) == ("v1", 99, [])
    assert model["why_not"] == "too few posters yet: 99 of at least 100"
    send(client, posters(2, 61))
    [model] = client.get("/v1/drift").json()["models"]
    assert (model["posters"], model["is_drift"], model["why_not"]) == (160, False, None)
    assert {it["name"] for it in model["genres"]} == {"Red", "Green", "Blue"}
    assert all(it["index"] < it["limit"] for it in (*model["genres"], *model["inputs"]))


@pytest.mark.parametrize(
    ("change", "inputs", "moves_scores"),
    [
        (lambda image: image.point(lambda value: value // 2), {"brightness", "contrast"}, True),
        (lambda image: image.crop((0, 0, 96, 96)), {"aspect", "height_px"}, False),
        (lambda image: image.filter(ImageFilter.GaussianBlur(12)), {"contrast", "sharpness"}, False),
    ],
    ids=["darkened", "cropped", "blurred"],
)
def test_shifted_posters_are_a_drift_until_they_have_left_the_window(
    client: TestClient, change: Change, inputs: set[str], moves_scores: bool
) -> None:
    send(client, posters(3, WINDOW, change))
    [model] = client.get("/v1/drift").json()["models"]
    assert model["is_drift"]
    assert inputs <= {it["name"] for it in model["inputs"] if it["is_drift"]}
    assert any(it["is_drift"] for it in model["genres"]) or not moves_scores
    indexes = [it["index"] for it in model["inputs"]]
    assert indexes == sorted(indexes, reverse=True)
    send(client, posters(4, WINDOW))
    assert not client.get("/v1/drift").json()["models"][0]["is_drift"]


def test_a_card_without_reference_statistics_says_so(
    registry: Registry, register: Register, follower: Follower, client: TestClient
) -> None:
    register("v2")
    registry.canary("v2", 0.99)
    follower.poll()
    send(client, posters(5, 150))
    production, candidate = client.get("/v1/drift").json()["models"]
    assert (production["version"], candidate["version"]) == ("v1", "v2")
    assert candidate["why_not"] == "this version's card has no reference statistics"


def test_the_gauges_tell_shares_refusals_and_drift_and_what_is_over_is_0(
    registry: Registry, register: Register, follower: Follower, client: TestClient, watch: DriftWatch
) -> None:
    told: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    class Gauge:
        def __init__(self, name: str) -> None:
            self.name = name

        def set(self, value: float, labels: dict[str, str]) -> None:
            told[self.name, tuple(sorted(labels.items()))] = value

    metrics = ModelMetrics(watch, gauge=lambda name, _description, _labels: Gauge(name))
    send(client, posters(6, WINDOW, lambda image: image.point(lambda value: value // 2)))
    register("v2")
    registry.canary("v2", 0.25)
    follower.poll()
    metrics(follower)
    v1, v2 = (("version", "v1"),), (("version", "v2"),)
    assert told["onesheet_traffic_share", v1] == 0.75
    assert told["onesheet_traffic_share", v2] == 0.25
    assert told["onesheet_drift_posters", v1] == WINDOW
    assert told["onesheet_drifts", v1] >= 2
    assert told["onesheet_input_drift", (("input", "brightness"), *v1)] > 0.25
    assert ("onesheet_genre_drift", (("genre", "Red"), *v1)) in told
    registry.stop_canary()
    registry.store.put("models/v3/bundle.json", b"{}")
    registry.store.put("models/v2/model.keras", b"damaged")
    follower.poll()
    registry.promote("v2")
    follower.poll()
    metrics(follower)
    assert told["onesheet_refused", v2] == 1
    assert told["onesheet_traffic_share", v1] == 1
    assert told["onesheet_traffic_share", v2] == 0
