"""Spoiled pictures, by their bytes."""

from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image

from crawler.images import inspect
from crawler.outcomes import PosterFacts, Reason, Rejected
from crawler.site.drawing import draw_poster
from crawler.site.faults import Fault
from crawler.site.spoiling import BOMB_SIDE_PX, no_picture, spoiled
from crawler.titles import Title

POSTER = draw_poster(Title("tt9900001", title="Signal", genres=("Sci-Fi",)))


def _idat(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    return png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start])]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.TRUNCATED, Reason.TRUNCATED),
        (Fault.CORRUPT, Reason.CORRUPT),
        (Fault.TINY, Reason.TOO_SMALL),
        (Fault.WIDE, Reason.ODD_ASPECT),
        (Fault.BOMB, Reason.TOO_MANY_PIXELS),
        (Fault.PLACEHOLDER, Reason.PLACEHOLDER),
    ],
)
def test_a_spoiled_picture_is_rejected_with_the_reason_that_it_was_made_for(fault: Fault, reason: Reason) -> None:
    outcome = inspect(spoiled(fault, POSTER).data, max_pixels=50_000_000)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is reason


@pytest.mark.parametrize("genre", ["Comedy", "Drama", "Horror", "Documentary"])
@pytest.mark.parametrize("side", [32, 150, 300])
def test_a_corrupt_picture_never_decodes(genre: str, side: int) -> None:
    poster = io.BytesIO()
    Image.open(io.BytesIO(draw_poster(Title("tt9900002", genres=(genre,))))).resize((side, side)).save(poster, "JPEG")
    picture = spoiled(Fault.CORRUPT, poster.getvalue())
    with Image.open(io.BytesIO(picture.data)) as image, pytest.raises(OSError, match="broken data stream"):
        image.load()


@pytest.mark.parametrize(
    ("fault", "form", "mode"),
    [(Fault.PNG, "PNG", "RGB"), (Fault.WEBP, "WEBP", "RGB"), (Fault.GIF, "GIF", "P"), (Fault.CMYK, "JPEG", "CMYK")],
)
def test_another_format_is_still_the_poster(fault: Fault, form: str, mode: str) -> None:
    picture = spoiled(fault, POSTER)
    with Image.open(io.BytesIO(picture.data)) as image:
        assert (image.format, image.mode, image.size) == (form, mode, (300, 444))
    assert picture.media_type == f"image/{form.lower()}"
    facts = [inspect(data, max_pixels=1_000_000) for data in (POSTER, picture.data)]
    assert all(isinstance(fact, PosterFacts) for fact in facts)


def test_a_bomb_is_small_and_holds_every_pixel_that_it_declares() -> None:
    bomb = spoiled(Fault.BOMB, POSTER).data
    assert len(bomb) < 400_000
    unpacked, pieces = zlib.decompressobj(), 0
    rest = _idat(bomb)
    while rest:
        pieces += len(unpacked.decompress(rest, 1 << 20))
        rest = unpacked.unconsumed_tail
    assert unpacked.eof  # and so its checksum was right
    assert pieces == BOMB_SIDE_PX * (1 + BOMB_SIDE_PX // 8)


def test_amazons_pixel_has_43_bytes() -> None:
    assert len(spoiled(Fault.TINY, POSTER).data) == 43


def test_faults_that_are_not_the_pictures_leave_it_as_it_is() -> None:
    assert {spoiled(fault, POSTER).data for fault in (None, Fault.SLOW, Fault.MOVED, Fault.NO_AI)} == {POSTER}


def test_the_drawing_for_no_poster_is_a_placeholder() -> None:
    outcome = inspect(no_picture().data, max_pixels=1_000_000)
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.PLACEHOLDER
