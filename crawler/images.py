"""Pure: bytes → a verified, decoded picture and its facts, or a named reason why not."""

from __future__ import annotations

import hashlib
import io
import warnings

import imagehash
from PIL import Image, UnidentifiedImageError

from crawler.outcomes import PosterFacts, Reason, Rejected

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
# IMDb's placeholders and tracking pixels are smaller than any poster that a model can learn from.
MIN_SIDE_PX = 32


def inspect(data: bytes, *, max_pixels: int) -> PosterFacts | Rejected:
    """Decode all of the picture and tell its facts. Never raises on any bytes."""
    decoded = decode(data, max_pixels=max_pixels)
    if isinstance(decoded, Rejected):
        return decoded
    return PosterFacts(
        format=str(decoded.format),
        width_px=decoded.width,
        height_px=decoded.height,
        sha256=hashlib.sha256(data).hexdigest(),
        phash=str(imagehash.phash(decoded)),
    )


def decode(data: bytes, *, max_pixels: int) -> Image.Image | Rejected:
    """The picture, loaded whole; of an animation the first frame. Never raises on any bytes.

    The size is read from the header and checked before any pixel is decoded, so a decompression bomb costs nothing.
    """
    if not data:
        return Rejected(Reason.NOT_AN_IMAGE, "no bytes")
    try:
        with warnings.catch_warnings():
            # Pillow's own, looser limit; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                return Rejected(Reason.TOO_MANY_PIXELS, f"{image.width}x{image.height}, limit {max_pixels} pixels")
            if min(image.size) < MIN_SIDE_PX:
                return Rejected(Reason.TOO_SMALL, f"{image.width}x{image.height}, at least {MIN_SIDE_PX} px a side")
            image.load()
    except Image.DecompressionBombError as error:
        return Rejected(Reason.TOO_MANY_PIXELS, str(error))
    except UnidentifiedImageError:
        return Rejected(Reason.NOT_AN_IMAGE, f"starts with {data[:16]!r}, which is none of {', '.join(FORMATS)}")
    except Exception as error:  # noqa: BLE001, RUF100  Pillow's decoders raise nearly anything on hostile bytes
        reason = Reason.TRUNCATED if "truncated" in str(error).lower() else Reason.CORRUPT
        return Rejected(reason, str(error) or type(error).__name__)
    return image
