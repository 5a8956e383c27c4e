"""What strangers send: nothing of it crashes the endpoint, is taken for what it is not, or costs more than its size."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cluster.store import FolderStore
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.thumbnails import Thumbnails
from tests.serving.conftest import register_tiny, running_app
from training.registry import Registry

MAX_BYTES = 200_000


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("hostile")
    registry = Registry(FolderStore(folder / "store"))
    register_tiny(registry, folder / "v1", "v1", has_index=True)
    registry.promote("v1")
    return registry


def api_of(registry: Registry) -> FastAPI:
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    thumbnails = Thumbnails(registry.store, max_bytes=MAX_BYTES, max_pixels=100_000)
    return build_api(follower, Limits(max_upload_bytes=MAX_BYTES, max_posters=8, thumbnails=thumbnails))


@pytest.fixture(scope="module")
def client(registry: Registry) -> Iterator[TestClient]:
    with TestClient(api_of(registry)) as client:
        yield client


def picture(kind: str, mode: str = "RGB", *, size: tuple[int, int] = (64, 96), **how: Any) -> bytes:
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (size[1], size[0]), np.uint8))
    sink = io.BytesIO()
    grey.convert(mode).save(sink, kind, **how)
    return sink.getvalue()


def frames(kind: str) -> bytes:
    sink = io.BytesIO()
    made = [Image.new("RGB", (64, 96), color) for color in ("red", "lime", "blue")]
    made[0].save(sink, kind, save_all=True, append_images=made[1:], duration=100)
    return sink.getvalue()


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 10_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG whose packed text would fill memory."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", "a" * 80_000_000, zip=True)
    return picture("PNG", pnginfo=info)


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("page.html", "<script>alert(1)</script>")
    return sink.getvalue()


REFUSED = {
    "nothing": (b"", 415),
    "a program": (b"\x7fELF" + b"\0" * 200, 415),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 415),
    "a page": (b"<!DOCTYPE html><html><body>poster</body></html>", 415),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 415),
    "an SVG that reads files": (
        b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        415,
    ),
    "a TIFF": (picture("TIFF"), 415),
    "an ICO": (picture("ICO"), 415),
    "a BMP": (picture("BMP"), 415),
    "an EPS, which Pillow gives to Ghostscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 96\n", 415),
    "a zip": (zipped(), 415),
    "a page with a picture behind it": (b"<html>" + picture("JPEG"), 415),
    "a picture's first bytes": (b"\xff\xd8\xff", 422),
    "a picture cut short": (picture("JPEG")[:-200], 422),
    "a bomb of pixels": (bomb(), 422),
    "a bomb of text": (text_bomb(), 422),
    "a bomb by its header alone": (
        b"GIF89a"
        + struct.pack("<HHBBB6x", 65535, 65535, 0x80, 0, 0)
        + b","
        + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 2)
        + b"\x02\x4c\x01\0;",
        422,
    ),
    "a tracking pixel": (picture("GIF", size=(1, 1)), 422),
    "a PNG with a broken checksum": (picture("PNG")[:60] + b"\0\0\0\0" + picture("PNG")[64:], 422),
}

HANDLED = {
    "a JPEG in CMYK": picture("JPEG", "CMYK"),
    "a grey JPEG": picture("JPEG", "L"),
    "a progressive JPEG": picture("JPEG", progressive=True),
    "a PNG with a palette": picture("PNG", "P"),
    "a PNG of one bit": picture("PNG", "1"),
    "a PNG with transparency": picture("PNG", "RGBA"),
    "a PNG of 16 bits": picture("PNG", "I;16"),
    "an animated GIF": frames("GIF"),
    "an animated WebP": frames("WEBP"),
    "an animated PNG": frames("PNG"),
    "a JPEG that is a zip too": picture("JPEG") + zipped(),
    "a GIF that is a script too": frames("GIF") + b"=1;alert(1)//",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_poster_is_refused_in_a_sentence(client: TestClient, name: str) -> None:
    data, status = REFUSED[name]
    assert len(data) < MAX_BYTES
    for path in ("/v1/predict", "/v1/predict?explain=true", "/v1/explain", "/v1/similar"):
        answer = client.post(path, files={"image": ("poster.jpg", data, "image/jpeg")})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
        assert answer.json()["reason"]


@pytest.mark.parametrize("name", HANDLED)
def test_what_is_odd_and_a_picture_is_answered(client: TestClient, name: str) -> None:
    for path in ("/v1/predict", "/v1/predict?explain=true", "/v1/explain", "/v1/similar"):
        answer = client.post(path, files={"image": ("poster.svg", HANDLED[name], "text/html")})
        assert answer.status_code == 200, answer.text
        # What came in is in no answer as it came: a picture is made anew, so nothing hides behind it.
        assert b"alert" not in answer.content
        assert b"<script" not in answer.content


def test_of_an_animation_the_first_frame_counts(client: TestClient) -> None:
    for kind in ("GIF", "WEBP", "PNG"):
        [poster] = client.post("/v1/predict", files={"image": ("a", frames(kind))}).json()["posters"]
        assert poster["predicted"] == ["Red"], kind


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a" * 500, "\x00.jpg", '"><script>alert(1)</script>', "\u202egpj.exe", "💥.jpg"]
)
def test_a_name_is_only_ever_repeated(client: TestClient, name: str) -> None:
    answer = client.post("/v1/predict", files=[("image", (name, picture("JPEG"))), ("image", ("b", b"hello"))])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()["posters"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--x\r\n\r\n",
        b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n',
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n' + b"A: b\r\n" * 5000 + b"\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        b"aGVsbG8=\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + b"a" * 5000 + b'"\r\n\r\n\r\n--x--',
        b"\xff" * 1000,
    ],
)
def test_a_broken_multipart_body_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"images": [' + b'"",' * 20_000 + b'""]}', b'{"images": ["\\ud800"]}']
)
def test_json_that_is_deep_long_or_no_text_is_a_problem(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@given(data=st.binary(max_size=2000), kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), at=st.integers(0, 5000))
@settings(max_examples=60)
def test_a_picture_with_bytes_in_it_that_are_not_its_own_is_answered(
    client: TestClient, data: bytes, kind: str, at: int
) -> None:
    whole = picture(kind)
    at %= len(whole)
    answer = client.post("/v1/predict", files={"image": ("a", whole[:at] + data + whole[at:])})
    assert answer.status_code in (200, 415, 422), answer.text


@pytest.fixture(scope="module")
def contract(registry: Registry) -> Iterator[Any]:
    with running_app(api_of(registry)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_every_answer_is_one_that_the_open_api_page_names(contract: Any) -> None:
    tried = 0
    for found in contract.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=25, database=None)
        def holds(case: schemathesis.Case) -> None:
            # What the schema calls binary is hardly ever a picture.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        holds()
        tried += 1
    assert tried == 10
