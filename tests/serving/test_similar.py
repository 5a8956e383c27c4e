"""Similar posters: found by the served bundle's own model and index, over HTTP, from Python and from the shell."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from fastapi.testclient import TestClient
from PIL import Image
from PIL.ExifTags import Base
from typer.testing import CliRunner

from cluster.errors import StoreUnavailableError
from cluster.store import FolderStore
from serving.answers import RefusedPoster
from serving.client import Client, EndpointError
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.keys import Keys
from serving.similar_answers import FoundPoster
from serving.similar_commands import similar
from serving.thumbnails import Thumbnails
from tests.serving.conftest import FILMS, Poster, Register, running_app
from tests.serving.test_interface import problem
from training.bundle import BundleError
from training.registry import Registry
from training.runtimes import TensorFlow

MAX_BYTES = 50_000
KEY = "0123456789abcdef"


def api_of(registry: Registry, **changes: Any) -> Any:
    thumbnails = Thumbnails(registry.store, max_bytes=MAX_BYTES, max_pixels=100_000)
    limits: dict[str, Any] = {"max_upload_bytes": MAX_BYTES, "max_posters": 3, "thumbnails": thumbnails} | changes
    return build_api(Follower(registry, poll_interval_s=60, max_pixels=100_000), Limits(**limits))


@pytest.fixture
def indexed(registry: Registry, register: Register) -> Registry:
    register("v1", has_index=True)
    registry.promote("v1")
    return registry


@pytest.fixture
def client(indexed: Registry) -> Iterator[TestClient]:
    with TestClient(api_of(indexed)) as client:
        yield client


def test_the_same_poster_is_found_first_with_its_title(client: TestClient, poster: Poster) -> None:
    answer = client.post("/v1/similar", params={"top": 3}, files={"image": ("a.jpg", poster("navy"), "image/jpeg")})
    assert answer.status_code == 200
    assert answer.headers["onesheet-version"] == answer.json()["version"] == "v1"
    [found] = answer.json()["posters"]
    assert found["name"] == "a.jpg"
    first, *others = found["similar"]
    assert first["similarity"] == pytest.approx(1, abs=0.01)
    assert {name: first[name] for name in first if name != "similarity"} == {
        "imdb_id": "tt0000010",
        "title": "The navy film",
        "year": 1960,
        "genres": ["Navy"],
        "picture": "v1/posters/tt0000010",
    }
    assert others[0]["genres"] == ["Blue"]
    assert [it["similarity"] for it in found["similar"]] == sorted(
        (it["similarity"] for it in found["similar"]), reverse=True
    )
    assert found["timings_ms"].keys() == {"decode", "find"}


def test_posters_come_in_every_way_and_a_bad_one_has_its_problem_in_its_place(
    client: TestClient, poster: Poster
) -> None:
    red, text = poster("red"), base64.b64encode(poster("blue")).decode()
    files = [("image", ("1.jpg", red)), ("image", ("2.txt", b"hello")), ("image", ("3.jpg", poster("lime")))]
    first, second, third = client.post("/v1/similar", files=files).json()["posters"]
    assert [it["similar"][0]["imdb_id"] for it in (first, third)] == ["tt0000002", "tt0000006"]
    assert second["problem"]["reason"] == "not_an_image"
    [found] = client.post("/v1/similar", json={"images": [text]}).json()["posters"]
    assert found["similar"][0]["imdb_id"] == "tt0000009"
    [found] = client.post("/v1/similar", content=red, headers={"content-type": "image/jpeg"}).json()["posters"]
    assert len(found["similar"]) == 10
    [found] = client.post("/v1/similar?top=100", files={"image": red}).json()["posters"]
    assert len(found["similar"]) == len(FILMS), "all there are"
    assert {it["imdb_id"]: it for it in found["similar"]}["tt0000001"].keys() == {
        "imdb_id",
        "genres",
        "similarity",
        "picture",
    }, "a film without title and year has none"


def test_what_cannot_be_found_is_a_problem(client: TestClient, poster: Poster) -> None:
    for top in (0, 101, "many"):
        asked = client.post(f"/v1/similar?top={top}", files={"image": poster("red")})
        assert problem(asked, 422)["detail"].startswith("top: ")
    assert problem(client.post("/v1/similar", files={"image": b"%PDF-1.7"}), 415)["reason"] == "not_an_image"
    assert problem(client.post("/v1/similar", files={"image": poster("red")[:-200]}), 422)["reason"] == "truncated"
    assert "more than 3 posters" in problem(client.post("/v1/similar", files=[("image", b"x")] * 4), 413)["detail"]
    assert "fetches no URLs" in problem(client.post("/v1/similar", json={"urls": ["http://x/a.jpg"]}), 403)["detail"]
    problem(client.get("/v1/similar"), 405)


def test_a_bundle_without_an_index_says_what_to_do(registry: Registry, register: Register, poster: Poster) -> None:
    register("old")
    registry.promote("old")
    with TestClient(api_of(registry)) as client:
        for answer in (
            client.post("/v1/similar", files={"image": poster("red")}),
            client.get("/v1/posters/tt0000002"),
        ):
            detail = problem(answer, 404)["detail"]
            assert detail.startswith("model old was registered without an index of its posters")
            assert "train it again" in detail
        assert client.get("/v1/model").json()["finds_similar"] is False
        assert client.post("/v1/predict", files={"image": poster("red")}).status_code == 200


def test_the_index_is_promoted_rolled_back_and_refused_with_its_bundle(
    registry: Registry, register: Register, poster: Poster
) -> None:
    register("old")
    register("v1", has_index=True)
    register("v2", has_index=True)
    registry.promote("old")
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    with TestClient(build_api(follower, Limits(max_upload_bytes=MAX_BYTES))) as client:

        def finds() -> bool:
            follower.poll()
            asked = client.post("/v1/similar", files={"image": poster("red")}).status_code == 200
            assert client.get("/v1/model").json()["finds_similar"] is asked
            return asked

        assert not finds()
        registry.promote("v1")
        assert finds()
        registry.rollback()
        assert not finds()
        registry.promote("v1")
        assert finds()
        registry.store.put("models/v2/index.npy", b"altered")
        registry.promote("v2")
        assert finds(), "v1 goes on serving"
        assert "index.npy does not match its sha256" in client.get("/v1/model").json()["refused"]["reason"]


def test_an_index_of_another_model_is_refused_before_it_serves(registry: Registry, register: Register) -> None:
    from serving.predictor import Predictor
    from tests.serving.conftest import tiny_model
    from training.bundle import load_index

    card = register("v1", has_index=True)
    folder = Path(registry.store.url, "models/v1")
    index = load_index(folder, card)
    assert index is not None
    other = type(index)(index.titles, index.codes, np.zeros((9, index.codes.shape[1]), np.float32))
    model = tiny_model()
    with pytest.raises(BundleError, match="bundle v1 is refused: the index is of a model with 8 features, not 3"):
        Predictor(TensorFlow(model), card, lambda: model, index=other)


def test_a_picture_is_small_drawn_anew_and_told_to_nobody_else(indexed: Registry) -> None:
    large = Image.new("RGB", (200, 400), "purple")
    exif = Image.Exif()
    exif[Base.Artist.value] = "somebody"
    sink = io.BytesIO()
    large.save(sink, "JPEG", exif=exif)
    indexed.store.put("posters/tt0000011.jpg", sink.getvalue() + b"<script>alert(1)</script>")
    with TestClient(api_of(indexed)) as client:
        answer = client.get("/v1/posters/tt0000011")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=86400"
    assert b"script" not in answer.content
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("JPEG", (180, 360))
    assert not picture.getexif()


def test_only_posters_of_the_dataset_that_are_whole_are_shown(indexed: Registry, poster: Poster) -> None:
    store = indexed.store
    store.put("posters/tt9999999.jpg", poster("red"))
    store.delete("posters/tt0000003.jpg")
    store.put("posters/tt0000004.jpg", b"<html>")
    store.put("posters/tt0000005.jpg", poster("yellow") + b"x" * MAX_BYTES)
    store.put("posters/tt0000006.jpg", poster("lime", size=(400, 400)))
    with TestClient(api_of(indexed)) as client:
        for number in ("9999999", "0000003", "0000004", "0000005", "0000006"):
            assert f"tt{number}" in problem(client.get(f"/v1/posters/tt{number}"), 404)["detail"]
        for name in (
            "tt1",
            "nm0000001",
            "tt0000001.jpg",
            "tt00000000001",
            "tt000000%31",
            "..%2fmodels",
            "tt0000001%0a",
        ):
            answer = client.get(f"/v1/posters/{name}")
            assert answer.status_code in ((200,) if name == "tt000000%31" else (404, 422)), name


def test_a_store_that_is_away_is_a_503_and_later_a_picture(indexed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Any, key: str) -> bytes:
        raise StoreUnavailableError("no answer")

    with TestClient(api_of(indexed)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "get", away)
            answer = client.get("/v1/posters/tt0000002")
            assert "does not answer" in problem(answer, 503)["detail"]
            assert answer.headers["retry-after"] == "60"
        assert client.get("/v1/posters/tt0000002").status_code == 200


def test_posters_are_shown_only_where_the_operator_says_so_and_to_whom(indexed: Registry, poster: Poster) -> None:
    with TestClient(api_of(indexed, thumbnails=None)) as client:
        assert "shows no posters" in problem(client.get("/v1/posters/tt0000002"), 403)["detail"]
        [found] = client.post("/v1/similar", files={"image": poster("red")}).json()["posters"]
        assert not any("picture" in it for it in found["similar"])
    with TestClient(api_of(indexed, keys=Keys({"alice": KEY}))) as client:
        problem(client.get("/v1/posters/tt0000002"), 401)
        problem(client.post("/v1/similar", files={"image": poster("red")}), 401)
        problem(client.get("/v1/card"), 401)
        headers = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/v1/posters/tt0000002", headers=headers).status_code == 200


def test_the_card_is_markdown_or_a_piece_of_inert_html(registry: Registry, register: Register) -> None:
    register("v1", lineage={"dataset_id": "<img src=x onerror=alert(1)>[a](javascript:alert(1))"})
    registry.promote("v1")
    with TestClient(api_of(registry)) as client:
        markdown = client.get("/v1/card")
        assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
        assert markdown.text.startswith("---\nlibrary_name: keras\n")
        page = client.get("/v1/card", headers={"accept": "text/html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"] == "default-src 'none'"
        assert "library_name" not in page.text
        assert "<h3>What it is worth</h3>" in page.text
        assert "<td>macro mAP</td>" in page.text
        assert "<img" not in page.text
        assert 'href="javascript' not in page.text


def test_the_open_api_page_has_the_examples(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    body = schema["paths"]["/v1/similar"]["post"]
    assert set(body["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/json"}
    assert {"200", "404", "413", "415", "422", "503"} <= set(body["responses"])
    assert schema["components"]["schemas"]["SimilarAnswer"]["examples"][0]["posters"]
    assert set(schema["paths"]["/v1/posters/{imdb_id}"]["get"]["responses"]["200"]["content"]) == {"image/jpeg"}
    assert set(schema["paths"]["/v1/card"]["get"]["responses"]["200"]["content"]) == {"text/markdown", "text/html"}


def test_an_explanation_comes_with_each_poster_that_is_scored(client: TestClient, poster: Poster) -> None:
    def ask(**query: Any) -> Any:
        files = [("image", ("1.jpg", poster("red"))), ("image", ("2.txt", b"hello"))]
        return client.post("/v1/predict", params=query, files=files)

    first, second = ask(explain=True).json()["posters"]
    assert first["explanation"]["genre"] == first["genres"][0]["genre"] == "Red"
    assert first["explanation"]["score"] == pytest.approx(first["genres"][0]["score"], abs=1e-5)
    layer = Image.open(io.BytesIO(base64.b64decode(first["explanation"]["png"])))
    assert (layer.format, layer.mode, layer.size) == ("PNG", "RGBA", (64, 96))
    assert second.keys() == {"name", "problem"}
    first, _ = ask(explain=True, genre="Blue", picture="map").json()["posters"]
    assert first["explanation"]["genre"] == "Blue"
    assert Image.open(io.BytesIO(base64.b64decode(first["explanation"]["png"]))).size == (16, 24)
    assert "explanation" not in ask().json()["posters"][0]
    assert problem(ask(explain=True, genre="Western"), 422)["detail"] == "genre: 'Western' is none of Red, Green, Blue"
    assert "add explain=true" in problem(ask(genre="Red"), 422)["detail"]
    assert problem(ask(explain="perhaps"), 422)["detail"].startswith("explain: ")


def test_the_client_finds_similar_posters_pictures_the_card_and_explanations(
    indexed: Registry, poster: Poster, tmp_path: Path
) -> None:
    file = tmp_path / "blue.jpg"
    file.write_bytes(poster("blue"))
    with running_app(api_of(indexed)) as url:
        client = Client(url, retries=0)
        answer = client.similar([file, b"hello"], top=2)
        blue, text = answer.posters
        assert isinstance(blue, FoundPoster)
        assert (blue.name, len(blue.similar), blue.similar[0].title) == ("blue.jpg", 2, "The blue film")
        assert isinstance(text, RefusedPoster)
        [alone] = client.similar([b"hello"]).posters
        assert isinstance(alone, RefusedPoster)
        assert Image.open(io.BytesIO(client.poster("tt0000009"))).size == (64, 96)
        with pytest.raises(EndpointError, match="no poster of the model's dataset"):
            client.poster("tt7777777")
        with pytest.raises(EndpointError):
            client.poster("../genres")
        with pytest.raises(EndpointError, match="fetches no URLs"):
            client.similar_urls(["http://127.0.0.1/a.jpg"])
        assert client.card().startswith("---\n")
        [scored] = client.predict([file], explain=True, genre="Green").posters
        assert not isinstance(scored, RefusedPoster)
        assert scored.explanation is not None
        assert scored.explanation.genre == "Green"


app = typer.Typer()
app.command()(similar)


def run(*arguments: str, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def test_the_command_finds_them_here_and_by_an_endpoint(indexed: Registry, poster: Poster, tmp_path: Path) -> None:
    good, bad, missing = tmp_path / "navy.jpg", tmp_path / "text.jpg", tmp_path / "none.jpg"
    good.write_bytes(poster("navy"))
    bad.write_bytes(b"no image")
    files = (str(good), str(bad), str(missing))
    here = run(*files, "--store", indexed.store.url, "--top", "2", "--json", exit_code=1)
    told = json.loads(here.stdout)
    assert told["version"] == "v1"
    first, second = told["posters"]
    assert first["name"] == str(good)
    assert [it["title"] for it in first["similar"]] == ["The navy film", "The blue film"]
    assert second["problem"]["reason"] == "not_an_image"
    with running_app(api_of(indexed)) as url:
        there = json.loads(run(*files, "--url", url, "--top", "2", "--json", exit_code=1).stdout)
        assert [it["imdb_id"] for it in there["posters"][0]["similar"]] == [it["imdb_id"] for it in first["similar"]]
    table = run(str(good), "--store", indexed.store.url).stdout
    assert "The navy film" in table
    assert "tt0000010" in table


def test_the_command_says_that_a_model_has_no_index(
    registry: Registry, register: Register, tmp_path: Path, poster: Poster
) -> None:
    register("old")
    registry.promote("old")
    file = tmp_path / "red.jpg"
    file.write_bytes(poster("red"))
    with pytest.raises(BundleError, match="model old was registered without an index"):
        run(str(file), "--store", registry.store.url)


@pytest.mark.slow
def test_real_posters_find_themselves_and_their_originals_after_resizing_and_recompression(
    real_data: Path, registry: Registry, tmp_path: Path
) -> None:
    """With MobileNetV2's ImageNet features, which is what a model with a frozen backbone is indexed by."""
    import pyarrow as pa

    from serving.predictor import Predictor
    from training.bundle import BundleCard
    from training.embedding import Embedder
    from training.network import build_network
    from training.parts import default_recipe
    from training.preprocessing import to_pixels
    from training.similar import SCHEMA, PosterIndex, encode, fit_projection

    files = sorted((real_data / "posters/Images").glob("*.jpg"))[:96]
    size: dict[str, Any] = {"height_px": 160, "width_px": 112}
    model = build_network(
        "mobilenet_v2",
        genres=3,
        recipe=default_recipe("mobilenet_v2"),
        weights=str(real_data / "weights"),
        **size,
    ).model
    features = Embedder(model)(np.stack([to_pixels(Image.open(file), **size) for file in files]))
    projection = fit_projection(features)
    rows: list[dict[str, Any]] = [{"imdb_id": file.stem, "title": None, "year": None, "genres": []} for file in files]
    index = PosterIndex(pa.Table.from_pylist(rows, schema=SCHEMA), encode(features, projection), projection)
    card = BundleCard(version="v1", architecture="mobilenet_v2", genres=("A", "B", "C"), thresholds=(0.5,) * 3, **size)
    predictor = Predictor(TensorFlow(model), card, lambda: model, index=index)

    def changed(file: Path) -> bytes:
        poster = Image.open(file).convert("RGB")
        sink = io.BytesIO()
        poster.resize((poster.width * 2 // 3, poster.height * 2 // 3)).save(sink, "JPEG", quality=50)
        return sink.getvalue()

    for read, least in ((Path.read_bytes, 0.99), (changed, 0.8)):
        found = predictor.similar([read(file) for file in files], top=2)
        firsts = [outcome.posters[0] for outcome in found if not hasattr(outcome, "reason")]
        assert [poster.imdb_id for poster in firsts] == [file.stem for file in files]
        assert min(poster.similarity for poster in firsts) > least
