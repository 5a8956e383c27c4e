"""A plain FastAPI app around onesheet's predictor: what Ray Serve and the interface cost besides."""

import os
import tempfile
from pathlib import Path

from fastapi import FastAPI, UploadFile

from cluster.store import open_store
from crawler.outcomes import Rejected
from serving.predictor import Predictor
from training.registry import Registry

app = FastAPI()
registry = Registry(open_store(os.environ["STORE"]))
with tempfile.TemporaryDirectory() as folder:
    card = registry.fetch(registry.production_or_raise().version, Path(folder))
    predictor = Predictor.load(Path(folder), card)


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, float]:
    [outcome] = predictor.predict([image.file.read()])
    assert not isinstance(outcome, Rejected)
    return {genre.genre: genre.score for genre in outcome.genres}
