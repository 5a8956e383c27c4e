"""Pure: what the image of a misbehaving title holds instead of, or around, its poster."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from PIL import Image

from crawler.site.faults import Fault

BOMB_SIDE_PX = 50_000
_MIB = 1 << 20
_GREY = (204, 204, 204)
# What Amazon's image host answers for a picture that it does not have: a transparent pixel of 43 bytes.
_PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an answer and what it truly says they are."""

    data: bytes
    media_type: str = "image/jpeg"


def spoiled(fault: Fault | None, poster: bytes) -> Picture:
    """The picture that a title with this fault answers, given its poster; the poster itself for every other fault."""
    spoil = _SPOILERS.get(fault) if fault is not None else None
    return spoil(poster) if spoil is not None else Picture(poster)


@cache
def no_picture() -> Picture:
    """IMDb's drawing for "no poster", here of a single tone."""
    return Picture(_encoded(Image.new("RGB", (214, 317), _GREY), "PNG"), "image/png")


def _truncated(poster: bytes) -> Picture:
    return Picture(poster[: len(poster) // 2])


def _placeholder(poster: bytes) -> Picture:
    with Image.open(io.BytesIO(poster)) as image:
        return Picture(_encoded(Image.new("RGB", image.size, _GREY), "JPEG"))


def _corrupt(poster: bytes) -> Picture:
    """A JPEG whose data goes on behind its middle with the header of another frame, at which every decoder stops.

    Garbage alone often decodes, to stripes of colour: libjpeg only warns of it.
    """
    middle = max(len(poster) // 2, poster.find(b"\xff\xda") + 16)
    garbage = b"\xff\xc0\x00\x02" + zlib.compress(poster[:512])
    return Picture(poster[:middle] + garbage + poster[middle + len(garbage) :])


def _tiny(_poster: bytes) -> Picture:
    return Picture(_PIXEL, "image/gif")


def _wide(poster: bytes) -> Picture:
    with Image.open(io.BytesIO(poster)) as image:
        return Picture(_encoded(image.convert("RGB").resize((1600, 40)), "JPEG"))


def _bomb(_poster: bytes) -> Picture:
    return Picture(_bomb_png(BOMB_SIDE_PX), "image/png")


@cache
def _bomb_png(side_px: int) -> bytes:
    """A whole, valid PNG: every pixel is there, and black. 312 MB of rows are 310 KB, made in milliseconds."""
    raw_bytes = side_px * (1 + (side_px + 7) // 8)
    # A full flush ends a block on a byte, so one compressed mebibyte of zeros serves for all of them.
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(_MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = compressor.compress(bytes(raw_bytes % _MIB)) + compressor.flush()
    # Adler-32 of zeros: its first half stays 1, its second counts the bytes.
    checksum = struct.pack(">HH", raw_bytes % 65521, 1)
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"\x78\xda" + block * (raw_bytes // _MIB) + rest + checksum), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _recoded(form: str, mode: str = "RGB", media_type: str | None = None) -> Callable[[bytes], Picture]:
    def recode(poster: bytes) -> Picture:
        with Image.open(io.BytesIO(poster)) as image:
            return Picture(_encoded(image.convert(mode), form), media_type or f"image/{form.lower()}")

    return recode


def _encoded(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


_SPOILERS: Mapping[Fault, Callable[[bytes], Picture]] = MappingProxyType(
    {
        Fault.TRUNCATED: _truncated,
        Fault.PLACEHOLDER: _placeholder,
        Fault.CORRUPT: _corrupt,
        Fault.TINY: _tiny,
        Fault.WIDE: _wide,
        Fault.BOMB: _bomb,
        Fault.PNG: _recoded("PNG"),
        Fault.WEBP: _recoded("WEBP"),
        Fault.GIF: _recoded("GIF", mode="P"),
        Fault.CMYK: _recoded("JPEG", mode="CMYK"),
    }
)
