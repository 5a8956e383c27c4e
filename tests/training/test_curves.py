from __future__ import annotations

import io

from PIL import Image

from training.curves import draw_curves


def test_the_curves_are_a_picture_also_of_a_single_epoch():
    for epochs in (1, 12):
        history = [{"epoch": e, "loss": 0.3 / e, "validation_macro_map": 0.02 * e} for e in range(1, epochs + 1)]
        picture = draw_curves(history, title="cnn_small-20260301", score="validation_macro_map", prior=0.11)
        image = Image.open(io.BytesIO(picture))
        image.load()
        assert image.format == "PNG"
        assert image.width > 2 * image.height
