"""A poster's bytes → scores by Keras and `tf.function`, as each peer has it. Knows nothing of onesheet."""

from __future__ import annotations

import io
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

MAX_BATCH = 16


class KerasModel:
    """The model in the file MODEL."""

    def __init__(self) -> None:
        model = keras.saving.load_model(os.environ["MODEL"], compile=False)
        self.height_px, self.width_px = model.input_shape[1:3]
        pixels = tf.TensorSpec([None, self.height_px, self.width_px, 3], tf.uint8)
        self._scores = tf.function(lambda batch: model(batch, training=False), input_signature=[pixels])
        for count in (1, MAX_BATCH):
            self.scores(np.zeros((count, self.height_px, self.width_px, 3), np.uint8))

    def pixels(self, data: bytes) -> Any:
        """uint8 [H, W, 3]."""
        return self.resized(Image.open(io.BytesIO(data)))

    def resized(self, image: Any) -> Any:
        """The same of an image."""
        size = (self.width_px, self.height_px)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))

    def scores(self, batch: Any) -> Any:
        """float32 [N, genres] of uint8 [N, H, W, 3]."""
        return self._scores(batch).numpy()
