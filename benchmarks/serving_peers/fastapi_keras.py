"""A plain FastAPI app around Keras: `uvicorn fastapi_keras:app`."""

from fastapi import FastAPI, UploadFile
from keras_model import KerasModel

app = FastAPI()
model = KerasModel()


@app.post("/predict")
def predict(image: UploadFile) -> list[float]:
    return model.scores(model.pixels(image.file.read())[None])[0].tolist()
