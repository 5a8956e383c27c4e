"""Pure: a decoded poster → the pixels that a model sees. Training and serving both call this, so they cannot differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def to_pixels(image: Image.Image, *, height_px: int, width_px: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Resize to the model's input, the aspect ratio given up, with an antialiasing bilinear filter.

    image: any mode; transparency is laid over white, CMYK and palettes become RGB.
    Returns uint8 [height_px, width_px, 3], RGB, 0 to 255.
    """
    resized = to_rgb(image).resize((width_px, height_px), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(resized, dtype=np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB; transparency laid over white."""
    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
