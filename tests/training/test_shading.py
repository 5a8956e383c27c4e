"""Heat maps as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from training.shading import png, shade, shaded


def test_a_layer_is_clearer_where_the_heat_is() -> None:
    heat = np.zeros((224, 160), np.float32)
    heat[:112] = 1
    with Image.open(io.BytesIO(png(shade(heat, (42, 63))))) as image:
        assert (image.mode, image.size) == ("RGBA", (42, 63))
        alpha = np.asarray(image)[..., 3].astype(int)
    assert alpha[:21].max() < alpha[-21:].min() / 2


def test_a_shaded_poster_is_dark_where_nothing_counts_and_aglow_where_the_heat_is() -> None:
    heat = np.zeros((24, 16), np.float32)
    heat[:12] = 1
    for color in ("white", "black"):
        picture = shaded(Image.new("RGB", (100, 150), color), heat)
        assert (picture.mode, picture.size) == ("RGB", (100, 150))
        pixels = np.asarray(picture, dtype=float)
        assert pixels[:60].mean() > pixels[90:].mean() + 20
