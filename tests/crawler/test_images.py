"""Bytes: verified to the last pixel, or rejected with the right reason."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crawler.images import FORMATS, decode, inspect, perceptual_hash
from crawler.outcomes import PosterFacts, Reason, Rejected
from crawler.site.drawing import draw_poster
from crawler.titles import Title

LIMIT = 1_000_000


@cache
def _poster() -> bytes:
    return draw_poster(Title("tt9900001", title="A Quiet Harbour", genres=("Drama",)))


def _picture(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (120, 180)) -> bytes:
    noise = Image.frombytes("RGB", size, random.Random(0).randbytes(3 * size[0] * size[1]))
    out = io.BytesIO()
    noise.convert(mode).save(out, kind)
    return out.getvalue()


def _reason(data: bytes, max_pixels: int = LIMIT) -> Reason | None:
    outcome = inspect(data, max_pixels=max_pixels)
    return outcome.reason if isinstance(outcome, Rejected) else None


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_has_its_facts(kind: str) -> None:
    data = _picture(kind)
    facts = inspect(data, max_pixels=LIMIT)
    assert isinstance(facts, PosterFacts)
    assert (facts.format, facts.width_px, facts.height_px) == (kind, 120, 180)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.content_type == f"image/{kind.lower()}"
    assert len(bytes.fromhex(facts.phash)) == 8


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1")]
)
def test_every_colour_mode_has_facts(kind: str, mode: str) -> None:
    data = _picture(kind, mode)
    assert isinstance(inspect(data, max_pixels=LIMIT), PosterFacts)


def test_a_png_of_16_bits_has_the_tones_and_the_hash_of_its_twin_of_8() -> None:
    with Image.open(io.BytesIO(_poster())) as poster:
        eight = np.asarray(poster.convert("L"))
    twins = []
    for tones in (eight, eight.astype(np.uint16) * 257):
        out = io.BytesIO()
        Image.fromarray(tones).save(out, "PNG")
        twins.append(out.getvalue())
    assert b"\x10\x00" in twins[1][:40], "a PNG's header has its bits a channel and its kind"
    one, other = (decode(data, max_pixels=LIMIT) for data in twins)
    assert isinstance(one, Image.Image)
    assert isinstance(other, Image.Image)
    assert np.array_equal(np.asarray(one.convert("L")), np.asarray(other.convert("L")))
    hashes = [facts.phash for data in twins if isinstance(facts := inspect(data, max_pixels=LIMIT), PosterFacts)]
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


@given(st.integers(0, 2**32 - 1), st.integers(32, 400), st.integers(32, 400))
@settings(max_examples=50, deadline=None)
def test_the_perceptual_hash_is_that_of_imagehash(seed: int, width: int, height: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1), dtype=np.uint8)
    grey = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    # One swap of two bits whose frequencies are the closest to the median, or two.
    assert (int(perceptual_hash(grey), 16) ^ int(str(imagehash.phash(grey)), 16)).bit_count() <= 4


def test_the_perceptual_hash_survives_another_size_and_quality() -> None:
    small = io.BytesIO()
    Image.open(io.BytesIO(_poster())).resize((150, 222)).save(small, "JPEG", quality=60)
    one, other = (inspect(data, max_pixels=LIMIT) for data in (_poster(), small.getvalue()))
    assert isinstance(one, PosterFacts)
    assert isinstance(other, PosterFacts)
    assert (int(one.phash, 16) ^ int(other.phash, 16)).bit_count() <= 6


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_jpeg_is_rejected_as_truncated(share: float) -> None:
    assert _reason(_poster()[: int(len(_poster()) * share)]) is Reason.TRUNCATED


def test_a_truncated_png_or_gif_is_not_stored() -> None:
    for kind in ("PNG", "GIF", "WEBP"):
        data = _picture(kind)
        assert _reason(data[: len(data) // 2]) is not None, kind


@pytest.mark.parametrize("data", [b"", b"{}", b"GIF", b"II*\x00\x08\x00\x00\x00", b"%!PS-Adobe"])
def test_what_is_no_picture_of_a_known_format_is_not_an_image(data: bytes) -> None:
    assert _reason(data) is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data", [b"<!DOCTYPE html><h1>404</h1>", b" \n<HTML>", b"<svg xmlns='x'/>", b"<?xml version='1'?>"]
)
def test_a_page_in_place_of_a_picture_is_told_from_other_bytes(data: bytes) -> None:
    assert _reason(data) is Reason.HTML


def test_a_jpeg_that_ends_within_its_header_is_truncated() -> None:
    assert {_reason(_poster()[:size]) for size in (4, 20, 150)} == {Reason.TRUNCATED}


def test_the_last_missing_bytes_are_noticed_although_decoding_is_at_a_fraction_of_the_size() -> None:
    big = io.BytesIO()
    Image.open(io.BytesIO(_poster())).resize((1200, 1800)).save(big, "JPEG")
    assert _reason(big.getvalue(), max_pixels=10**7) is None
    assert _reason(big.getvalue()[:-2000], max_pixels=10**7) is Reason.TRUNCATED


@pytest.mark.parametrize("size", [(600, 119), (32, 161), (900, 40)])
def test_a_banner_or_a_spacer_has_an_odd_aspect(size: tuple[int, int]) -> None:
    assert _reason(_picture(size=size)) is Reason.ODD_ASPECT
    assert _reason(_picture(size=(500, 100))) is None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_of_a_single_tone_stands_for_no_poster(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (182, 268), (128, 130, 129)).save(out, kind)
    assert _reason(out.getvalue()) is Reason.PLACEHOLDER


@pytest.mark.parametrize("size", [(1001, 1000), (50_000, 50_000), (2**31 - 1, 2**31 - 1)])
def test_a_header_that_claims_too_many_pixels_is_refused_undecoded(size: tuple[int, int]) -> None:
    outcome = inspect(_png_header(*size), max_pixels=LIMIT)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.TOO_MANY_PIXELS, outcome


def test_exactly_the_limit_of_pixels_is_accepted() -> None:
    assert _reason(_picture(size=(100, 100)), max_pixels=10_000) is None
    assert _reason(_picture(size=(100, 101)), max_pixels=10_000) is Reason.TOO_MANY_PIXELS


def test_a_tracking_pixel_is_too_small() -> None:
    assert _reason(_picture("GIF", size=(1, 1))) is Reason.TOO_SMALL
    assert _reason(_picture(size=(31, 400))) is Reason.TOO_SMALL
    assert _reason(_picture(size=(32, 32))) is None


def test_a_png_without_its_pixels_is_not_stored() -> None:
    assert _reason(_png_header(100, 100)) in (Reason.CORRUPT, Reason.TRUNCATED)


def test_a_png_with_a_broken_checksum_is_corrupt() -> None:
    data = bytearray(_picture())
    data[data.index(b"IDAT") + 100] ^= 0xFF
    assert _reason(bytes(data)) is Reason.CORRUPT


def test_all_real_posters_of_a_sample_have_facts(real_data: Path) -> None:
    paths = sorted((real_data / "posters" / "Images").glob("*.jpg"))[:60]
    assert paths
    bad = {path.name: _reason(path.read_bytes()) for path in paths} | {}
    assert {name: reason for name, reason in bad.items() if reason} == {}


@given(
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 "]), st.binary()
)
def test_any_bytes_get_an_outcome(magic: bytes, rest: bytes) -> None:
    assert isinstance(inspect(magic + rest, max_pixels=LIMIT), PosterFacts | Rejected)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(FORMATS), seed=st.integers(0, 2**32), flips=st.integers(1, 30))
def test_a_picture_with_broken_bytes_gets_an_outcome(kind: str, seed: int, flips: int) -> None:
    rng = random.Random(seed)
    data = bytearray(_poster() if kind == "JPEG" else _picture(kind, size=(40, 60)))
    for _ in range(flips):
        # Half of them in the first bytes, where the headers lie.
        data[rng.randrange(rng.choice([200, len(data)])) % len(data)] = rng.randrange(256)
    assert isinstance(inspect(bytes(data), max_pixels=LIMIT), PosterFacts | Rejected)
