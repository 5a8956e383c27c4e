"""Pure: bytes → a verified, decoded picture and its facts, or a named reason why not."""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from typing import Any, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from crawler.outcomes import PosterFacts, Reason, Rejected

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# IMDb's placeholders and tracking pixels are smaller than any poster that a model can learn from.
MIN_SIDE_PX = 32
# Posters are 2:3; a triptych or a door poster still passes, a banner or a spacer does not.
MAX_ASPECT = 5.0
# Pictures of one tone stand for "no picture": the widest spread of grey values, of 255, that is still nothing.
_BLANK_SPREAD = 4
# A JPEG may be decoded at a fraction of its size, which still reads all of its data. Enough for a hash of 32x32: of its
# 64 bits one differs on average from the hash of the whole picture, at 32 px three.
_HASH_SIDE_PX = 48
# A perceptual hash is of the lowest 8 x 8 frequencies of a picture of 32 x 32: a cosine transform of type II.
_HASH_PX = 32
_HASH_FREQUENCIES = 8
_COSINES = 2 * np.cos(np.pi / (2 * _HASH_PX) * np.outer(np.arange(_HASH_FREQUENCIES), 2 * np.arange(_HASH_PX) + 1))
# A larger picture is first made small by Pillow.
_HASH_AT_ONCE_PX = 256
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<!--", b"<?xml", b"<svg")

# Pillow's warning of bombs is a warning filter's business, which is the process's: switched off once, not in each
# thread at every call. The limit is checked below.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def inspect(data: bytes, *, max_pixels: int) -> PosterFacts | Rejected:
    """Decode all of the picture and tell its facts. Never raises on any bytes.

    sha256 is of the bytes; phash is `perceptual_hash`.
    """
    opened = _opened(data, max_pixels=max_pixels)
    if isinstance(opened, Rejected):
        return opened
    size = opened.size
    aspect = max(size) / min(size)
    if aspect > MAX_ASPECT:
        return Rejected(Reason.ODD_ASPECT, f"{size[0]}x{size[1]}, at most {MAX_ASPECT:g} to 1")
    try:
        opened.draft("L", (_HASH_SIDE_PX, _HASH_SIDE_PX))
        opened.load()
        grey = opened if opened.mode == "L" else _in_eight_bits(opened).convert("L")
        darkest, lightest = cast("tuple[int, int]", grey.getextrema())
        if lightest - darkest <= _BLANK_SPREAD:
            return Rejected(Reason.PLACEHOLDER, f"{size[0]}x{size[1]} of a single tone")
        phash = perceptual_hash(grey)
    except Exception as error:  # noqa: BLE001, RUF100  Pillow's decoders raise nearly anything on hostile bytes
        return _broken(error)
    return PosterFacts(
        format=str(opened.format),
        width_px=size[0],
        height_px=size[1],
        sha256=hashlib.sha256(data).hexdigest(),
        phash=phash,
    )


def perceptual_hash(grey: Image.Image) -> str:
    """The 64 bits of `imagehash.phash`, in hex: which of a picture's lowest frequencies are above their median.

    grey: a picture in mode L. imagehash makes it 32 x 32, rounds to whole tones, and has SciPy make all 1,024
    frequencies for the 64. Here it is two products of matrices without rounding, in a sixth of the time, which was a
    tenth of a crawl's: for every eighth poster two of the bits differ.
    Source: http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html
    """
    if max(grey.size) > _HASH_AT_ONCE_PX:
        grey = grey.resize((_HASH_PX, _HASH_PX), Image.Resampling.LANCZOS)
    width_px, height_px = grey.size
    lowest = (_frequencies(height_px) @ np.asarray(grey, np.float64) @ _frequencies(width_px).T).ravel()
    return np.packbits(lowest > np.median(lowest)).tobytes().hex()


@functools.lru_cache(_HASH_AT_ONCE_PX)
def _frequencies(side_px: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[8, side]: makes a column of so many pixels 32, by Pillow's own filter, and of these the lowest frequencies."""
    each_alone = Image.fromarray(np.eye(side_px, dtype=np.float32))
    return _COSINES @ np.asarray(each_alone.resize((side_px, _HASH_PX), Image.Resampling.LANCZOS))


def decode(data: bytes, *, max_pixels: int) -> Image.Image | Rejected:
    """The picture, loaded whole, in 8 bits a channel; of an animation the first frame. Never raises on any bytes.

    The size is read from the header and checked before any pixel is decoded, so a decompression bomb costs nothing.
    """
    opened = _opened(data, max_pixels=max_pixels)
    if isinstance(opened, Rejected):
        return opened
    try:
        opened.load()
        return _in_eight_bits(opened)
    except Exception as error:  # noqa: BLE001, RUF100  as above
        return _broken(error)


def _opened(data: bytes, *, max_pixels: int) -> ImageFile.ImageFile | Rejected:
    """The picture with its header read and no pixel decoded."""
    if not data:
        return Rejected(Reason.NOT_AN_IMAGE, "no bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        return Rejected(Reason.TOO_MANY_PIXELS, str(error))
    except UnidentifiedImageError:
        if data[:512].lstrip().lower().startswith(_PAGE_STARTS):
            return Rejected(Reason.HTML, f"a page instead of a picture, it starts with {data[:40]!r}")
        if data.startswith(b"\xff\xd8\xff"):
            return Rejected(Reason.TRUNCATED, f"a JPEG that ends within its header, after {len(data)} bytes")
        return Rejected(Reason.NOT_AN_IMAGE, f"starts with {data[:16]!r}, which is none of {', '.join(FORMATS)}")
    except Exception as error:  # noqa: BLE001, RUF100  as above
        return _broken(error)
    if image.width * image.height > max_pixels:
        return Rejected(Reason.TOO_MANY_PIXELS, f"{image.width}x{image.height}, limit {max_pixels} pixels")
    if min(image.size) < MIN_SIDE_PX:
        return Rejected(Reason.TOO_SMALL, f"{image.width}x{image.height}, at least {MIN_SIDE_PX} px a side")
    return image


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """A PNG's grey of 16 bits by its higher byte: Pillow's own conversion makes white of all but the darkest."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _broken(error: Exception) -> Rejected:
    reason = Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.CORRUPT
    return Rejected(reason, str(error) or type(error).__name__)
