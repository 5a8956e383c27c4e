"""Pure: the size that an image URL asks for in its suffix (`._V1_UX182_CR0,0,182,268_AL_.jpg`), and the image in it."""

from __future__ import annotations

import io
import re

from PIL import Image

_MARK = "._V1"
_SIDE = re.compile(r"_[US]([XY])([0-9]{1,5})(?=[_.])")


def image_key(path: str) -> str:
    """What identifies an image: its path without IMDb's suffix, which only says how it is shown."""
    return path.partition(_MARK)[0]


def size_suffix(path: str) -> str:
    """The part of an image's path that asks for a size; empty where it asks for none."""
    suffix = path.partition(_MARK)[2]
    return suffix if _SIDE.search(suffix) else ""


def wanted_scale(suffix: str, width_px: int, height_px: int) -> float:
    """The factor that shrinks an image to what a suffix asks for; 1 where it asks for no less than there is.

    Of several sides (`_SX94_SY140_`) the smaller factor counts. Crops (`_CR`) are not made.
    """
    sides = {"X": width_px, "Y": height_px}
    factors = [int(pixels) / sides[axis] for axis, pixels in _SIDE.findall(suffix)]
    return min([factor for factor in factors if factor > 0], default=1.0)


def sized(data: bytes, suffix: str) -> bytes:
    """The image in the size that a suffix asks for: the same bytes where that is not smaller than the original."""
    with Image.open(io.BytesIO(data)) as image:
        scale = wanted_scale(suffix, image.width, image.height)
        if scale >= 1:
            return data
        return _resized(image, scale)


def at_width(data: bytes, width_px: int) -> bytes:
    """The image at a width, as TMDB's image host gives it, larger or smaller."""
    with Image.open(io.BytesIO(data)) as image:
        return _resized(image, width_px / image.width)


def _resized(image: Image.Image, scale: float) -> bytes:
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    encoded = io.BytesIO()
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
