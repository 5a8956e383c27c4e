"""A heat map as a picture: a layer over the poster, dark where nothing counts, aglow where the model looks."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from training.metrics import Array

# RGB. On a dark poster all would look unlit, so what counts glows.
_DARK, _GLOW = np.array((12, 12, 20)), np.array((255, 170, 40))


def shade(heat: Array, size_px: tuple[int, int]) -> Image.Image:
    """An RGBA layer for a poster of the same aspect ratio.

    heat: float32 [H, W] from 0 to 1. size_px: width and height of the layer.
    """
    scaled = Image.fromarray(heat.astype(np.float32)).resize(size_px, Image.Resampling.BILINEAR)
    high = np.clip(np.asarray(scaled), 0, 1)[..., None] ** 0.7
    dark, glow = 0.84 * (1 - high), 0.3 * high**2
    cover = 1 - (1 - dark) * (1 - glow)
    color = (_DARK * dark * (1 - glow) + _GLOW * glow) / np.maximum(cover, 1e-6)
    rgba = np.concatenate([color, 255 * cover], axis=-1)
    return Image.fromarray(np.round(rgba).astype(np.uint8), "RGBA")


def shaded(poster: Image.Image, heat: Array) -> Image.Image:
    """The poster, RGB, with the layer over it."""
    return Image.alpha_composite(poster.convert("RGBA"), shade(heat, poster.size)).convert("RGB")


def png(image: Image.Image) -> bytes:
    """The picture as a PNG."""
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()
