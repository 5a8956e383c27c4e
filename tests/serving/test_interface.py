"""The HTTP interface without Ray: what it answers, and how it says no."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from serving.follower import Follower
from serving.interface import Limits, build_api
from tests.serving.conftest import Poster, Register
from training.bundle import GenreWorth
from training.registry import Registry

MAX_BYTES = 50_000


@pytest.fixture
def empty(registry: Registry) -> Iterator[TestClient]:
    """A server without a model."""
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES))) as client:
        yield client


@pytest.fixture
def client(registry: Registry, register: Register) -> Iterator[TestClient]:
    register("v1")
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES, max_posters=3))) as client:
        yield client


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= set(body)
    return body


def test_a_poster_is_answered_with_its_genres(client: TestClient, poster: Poster) -> None:
    answer = client.post("/v1/predict", files={"image": ("a.jpg", poster("red"), "image/jpeg")})
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"] == "v1"
    [found] = body["posters"]
    assert found["name"] == "a.jpg"
    assert found["predicted"] == ["Red"]
    assert found["genres"][0].keys() == {"genre", "score", "threshold", "passes"}
    assert found["timings_ms"].keys() == {"decode", "predict"}


def test_posters_come_as_parts_as_the_body_or_in_json(client: TestClient, poster: Poster) -> None:
    red, blue = poster("red"), poster("blue")
    text, data_url = (base64.b64encode(data).decode() for data in (red, blue))
    asked = [
        {"files": [("image", ("1.jpg", red)), ("image", ("2.jpg", blue))]},
        {"json": {"images": [text, f"data:image/jpeg;base64,{data_url}"]}},
    ]
    for request in asked:
        found = client.post("/v1/predict", **request).json()["posters"]  # type: ignore[arg-type]
        assert [it["genres"][0]["genre"] for it in found] == ["Red", "Blue"]
    for kind in ("image/jpeg", "application/octet-stream"):
        answer = client.post("/v1/predict", content=red, headers={"content-type": kind}).json()
        assert [(it["name"], it["genres"][0]["genre"]) for it in answer["posters"]] == [("0", "Red")]


def test_a_bad_poster_has_its_problem_in_its_place(client: TestClient, poster: Poster) -> None:
    parts = [("image", ("1.jpg", poster("red"))), ("image", ("2.txt", b"hello")), ("image", ("3.jpg", poster("lime")))]
    answer = client.post("/v1/predict", files=parts)
    assert answer.status_code == 200
    first, second, third = answer.json()["posters"]
    assert (first["predicted"], third["predicted"]) == (["Red"], ["Green"])
    assert second.keys() == {"name", "problem"}
    assert (second["name"], second["problem"]["status"], second["problem"]["reason"]) == ("2.txt", 415, "not_an_image")
    parts = [("image", ("1.jpg", poster("red")[:-200])), ("image", ("2.txt", b"x"))]
    only_bad = client.post("/v1/predict", files=parts).json()["posters"]
    assert [it["problem"]["reason"] for it in only_bad] == ["truncated", "not_an_image"]


def test_top_and_threshold_choose_what_is_told(client: TestClient, poster: Poster) -> None:
    def ask(**query: float) -> Any:
        return client.post("/v1/predict", params=query, files={"image": poster("red")})

    [found] = ask(top=1, threshold=0.01).json()["posters"]
    assert [it["genre"] for it in found["genres"]] == ["Red"]
    assert found["genres"][0]["threshold"] == 0.01
    assert set(found["predicted"]) == {"Red", "Green", "Blue"}, "what passes is told whole"
    assert problem(ask(top=0), 422)["detail"].startswith("top: ")
    assert problem(ask(threshold=1.5), 422)["detail"].startswith("threshold: ")


@pytest.mark.parametrize(
    ("status", "sentence", "request_parts"),
    [
        (
            415,
            "a body of type text/plain holds no posters",
            {"content": b"x", "headers": {"content-type": "text/plain"}},
        ),
        (415, "a body of type nothing holds no posters", {}),
        (400, "the body: Invalid JSON", {"content": b"{", "headers": {"content-type": "application/json"}}),
        (422, "the body: neither images nor urls", {"json": {}}),
        (422, "the body: neither images nor urls", {"json": {"images": [], "urls": []}}),
        (422, "images.1: not base64", {"json": {"images": ["aGk=", "***"]}}),
        (422, "links: Extra inputs are not permitted", {"json": {"images": ["aGk="], "links": []}}),
        (400, "Missing boundary", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
        (413, "more than 3 posters in one request", {"files": [("image", b"x")] * 4}),
        (413, "more than 3 posters in one request", {"json": {"images": ["aGk="] * 4}}),
        (415, "starts with b'hi'", {"json": {"images": ["aGk="]}}),
    ],
)
def test_a_request_without_posters_says_what_to_send(
    client: TestClient, status: int, sentence: str, request_parts: dict[str, Any]
) -> None:
    for path in ("/v1/predict", "/v1/explain"):
        assert sentence in problem(client.post(path, **request_parts), status)["detail"]


def test_what_is_no_image_is_415_with_the_reason(client: TestClient) -> None:
    body = problem(client.post("/v1/predict", files={"image": ("a.jpg", b"%PDF-1.7", "image/jpeg")}), 415)
    assert body["reason"] == "not_an_image"
    assert "%PDF-1.7" in body["detail"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda poster: poster("red")[:-200], "truncated"),
        (lambda poster: poster("red", size=(400, 400)), "too_many_pixels"),
        (lambda poster: poster("red", size=(16, 16), format="PNG"), "too_small"),
    ],
)
def test_an_image_that_cannot_be_used_is_422_with_the_reason(
    client: TestClient, poster: Poster, make: Any, reason: str
) -> None:
    assert problem(client.post("/v1/predict", files={"image": make(poster)}), 422)["reason"] == reason


@pytest.mark.parametrize(
    "request_parts", [{"files": {"file": b"x"}}, {"files": {"x": b"x"}, "data": {"image": "text"}}]
)
def test_without_the_field_image_the_answer_says_so(client: TestClient, request_parts: dict[str, Any]) -> None:
    assert "multipart fields `image`" in problem(client.post("/v1/predict", **request_parts), 422)["detail"]


def test_a_declared_body_over_the_limit_is_413(client: TestClient) -> None:
    answer = client.post("/v1/predict", files={"image": b"x" * (MAX_BYTES + 1)})
    assert "larger than 50000 bytes" in problem(answer, 413)["detail"]


def test_a_body_without_a_length_is_cut_off_while_it_streams(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while sent < 20 * MAX_BYTES:
            sent += 1000
            yield b"x" * 1000

    answer = client.post("/v1/predict", content=endless(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert "larger than 50000 bytes" in problem(answer, 413)["detail"]


def test_without_a_model_every_endpoint_is_503_and_the_page_still_comes(empty: TestClient, poster: Poster) -> None:
    for answer in (
        empty.get("/readyz"),
        empty.get("/v1/model"),
        empty.get("/v1/genres"),
        empty.post("/v1/predict", files={"image": poster("red")}),
        empty.post("/v1/explain", files={"image": poster("red")}),
    ):
        assert "onesheet models promote" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"] == "60"
    assert empty.get("/").status_code == 200
    assert empty.get("/healthz").json() == {"status": "ok"}, "alive, though not ready"


def half_red() -> bytes:
    """Red at the top and black below, 200x300."""
    image = Image.new("RGB", (200, 300))
    image.paste((255, 0, 0), (0, 0, 200, 150))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def explained(client: TestClient, **query: str) -> tuple[Any, Image.Image]:
    answer = client.post("/v1/explain", params=query, files={"image": half_red()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return answer, Image.open(io.BytesIO(answer.content))


def test_an_explanation_shows_where_a_genre_is_seen(client: TestClient) -> None:
    answer, heat = explained(client, genre="Red", picture="map")
    assert (heat.mode, heat.size) == ("L", (16, 24))
    shown = np.asarray(heat)
    assert shown[:10].min() > 200
    assert shown[14:].max() < 50
    assert answer.headers["onesheet-genre"] == "Red"
    assert answer.headers["onesheet-version"] == "v1"
    scores = client.post("/v1/predict", files={"image": half_red()}).json()["posters"][0]["genres"]
    red = next(it["score"] for it in scores if it["genre"] == "Red")
    assert float(answer.headers["onesheet-score"]) == pytest.approx(red, abs=1e-5)


def test_an_explanation_is_the_poster_or_a_layer_of_its_shape(client: TestClient) -> None:
    answer, overlay = explained(client)
    assert (overlay.mode, overlay.size) == ("RGB", (200, 300))
    assert answer.headers["onesheet-genre"] == "Red", "the genre with the highest score"
    pixels = np.asarray(overlay, dtype=float)
    assert pixels[:120, :, 0].min() > 150
    _, layer = explained(client, picture="layer", genre="Red")
    assert (layer.mode, layer.size) == ("RGBA", (64, 96))
    alpha = np.asarray(layer)[..., 3].astype(int)
    assert alpha[:40].max() < alpha[56:].min() / 2


def test_what_cannot_be_explained_is_a_problem(client: TestClient, poster: Poster) -> None:
    def ask(**query: str) -> Any:
        return client.post("/v1/explain", params=query, files={"image": poster("red")})

    assert problem(ask(genre="Western"), 422)["detail"] == "genre: 'Western' is none of Red, Green, Blue"
    detail = problem(ask(picture="movie"), 422)["detail"]
    assert detail.startswith("picture: ")
    assert "multipart" not in detail
    two = client.post("/v1/explain", files=[("image", poster("red"))] * 2)
    assert "2 posters; a picture explains one" in problem(two, 422)["detail"]
    assert problem(client.post("/v1/explain", files={"image": b"%PDF-1.7"}), 415)["reason"] == "not_an_image"
    assert problem(client.post("/v1/explain", files={"image": poster("red")[:-200]}), 422)["reason"] == "truncated"


def test_genres_are_told_with_their_thresholds_and_worth(registry: Registry, register: Register) -> None:
    worth = GenreWorth(
        genre="Green",
        test_posters=40,
        average_precision=0.5,
        low=0.4,
        high=0.6,
        prior_average_precision=0.2,
        precision=0.6,
        recall=0.5,
        calibration_error=0.1,
    )
    register("v1", genre_metrics=(worth,))
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES))) as client:
        answer = client.get("/v1/genres").json()
    assert answer["version"] == "v1"
    red, green, _ = answer["genres"]
    assert (red["threshold"], red["average_precision"]) == (0.5, None)
    assert (green["average_precision"], green["prior_average_precision"], green["test_posters"]) == (0.5, 0.2, 40)


def test_readiness_and_model_tell_the_version_and_the_metrics_beside_the_prior(client: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ok", "version": "v1"}
    model = client.get("/v1/model").json()
    assert model["metrics"]["macro_map"] == 0.375
    assert model["prior_metrics"]["macro_map"] == 0.102
    assert model["genres"][2] == {"genre": "Blue", "threshold": 0.9}
    assert model["refused"] is None
    assert "files" not in model


def test_a_refused_version_is_told_by_the_model_endpoint(
    registry: Registry, register: Register, poster: Poster
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES))) as client:
        registry.store.put("models/v2/model.keras", b"altered")
        registry.promote("v2")
        follower.poll()
        assert client.get("/v1/model").json()["refused"]["version"] == "v2"
        assert client.post("/v1/predict", files={"image": poster("red")}).json()["version"] == "v1"


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for asset in ("style.css", "script.js", "icon.svg", "asking.js", "card.js", "similar.js"):
        text = client.get(f"/page/{asset}").text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), asset
    assert "http" not in page.text
    for asset in ("style.css", "script.js", "icon.svg"):
        assert f"page/{asset}" in page.text


def test_the_open_api_page_documents_examples_and_problems(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert "Problem" in schema["components"]["schemas"]
    responses = schema["paths"]["/v1/predict"]["post"]["responses"]
    assert {"200", "413", "415", "422", "503"} <= set(responses)
    assert schema["components"]["schemas"]["PredictionAnswer"]["examples"][0]["posters"]
    for path in ("/v1/predict", "/v1/explain"):
        body = schema["paths"][path]["post"]["requestBody"]["content"]
        assert set(body) == {"multipart/form-data", "image/*", "application/json"}
    assert client.get("/docs").status_code == 200


def test_an_unknown_path_is_a_problem_too(client: TestClient) -> None:
    problem(client.get("/nothing"), 404)
    problem(client.get("/v1/predict"), 405)


def test_health_answers_while_a_poster_is_being_read(
    client: TestClient, poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    started = threading.Event()

    def slow(self: Any, images: list[bytes]) -> list[Any]:
        started.set()
        release.wait(20)
        return original(self, images)

    from serving.predictor import Predictor

    original = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", slow)
    answers: list[int] = []
    call = threading.Thread(
        target=lambda: answers.append(client.post("/v1/predict", files={"image": poster("red")}).status_code)
    )
    call.start()
    assert started.wait(10)
    assert client.get("/healthz").status_code == 200
    release.set()
    call.join(20)
    assert answers == [200]
