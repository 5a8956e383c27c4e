"""BentoML with adaptive batching: `bentoml serve bento:Posters`."""

import bentoml
import numpy as np
from keras_model import MAX_BATCH, KerasModel
from PIL.Image import Image


@bentoml.service(traffic={"timeout": 60})
class Posters:
    def __init__(self) -> None:
        self.model = KerasModel()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000)
    def predict(self, image: list[Image]) -> list[list[float]]:
        return self.model.scores(np.stack([self.model.resized(each) for each in image])).tolist()
