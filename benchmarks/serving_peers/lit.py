"""LitServe with batching: `python lit.py PORT`."""

import base64
import sys
from typing import Any

import litserve
import numpy as np
from keras_model import MAX_BATCH, KerasModel


class Posters(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = KerasModel()

    # LitServe hands FastAPI this type, which takes anything else for a part of the query.
    def decode_request(self, request: dict[str, str]) -> Any:
        return self.model.pixels(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.model.scores(x)

    def encode_response(self, output: Any) -> list[float]:
        return output.tolist()


if __name__ == "__main__":
    server = litserve.LitServer(Posters(max_batch_size=MAX_BATCH, batch_timeout=0.01), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
