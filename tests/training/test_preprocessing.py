from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.preprocessing import to_pixels


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_every_mode_becomes_rgb_of_the_wanted_size(mode: str):
    image = Image.new("RGB", (40, 60), "red").convert(mode) if mode != "I;16" else Image.new(mode, (40, 60))
    pixels = to_pixels(image, height_px=30, width_px=20)
    assert pixels.shape == (30, 20, 3)
    assert pixels.dtype == np.uint8


def test_transparency_lies_over_white():
    pixels = to_pixels(Image.new("RGBA", (40, 60), (0, 0, 0, 0)), height_px=8, width_px=8)
    assert pixels.min() == 255
