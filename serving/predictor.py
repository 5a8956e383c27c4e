"""Pure: the bytes of posters → genre scores, from a bundle. Knows no HTTP and no Ray."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from crawler.images import decode
from crawler.outcomes import Rejected
from serving.batching import DEFAULT_MAX_BATCH, Batched
from serving.runtimes import load_runtime
from serving.similar import Finder, Found
from training.bundle import MODEL_FILE, BundleCard, BundleError, load_index, load_model
from training.drift import poster_inputs
from training.preprocessing import to_pixels, to_rgb
from training.quiet import start_tensorflow
from training.runtimes import Runtime, RuntimeName
from training.saliency import HeatMaps
from training.similar import PosterIndex

Made = TypeVar("Made")
Other = TypeVar("Other")
Outcome = TypeVar("Outcome")
DEFAULT_MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class GenreScore:
    """One genre's score, 0 to 1; `passes` when it reaches the threshold that was tuned for the genre."""

    genre: str
    score: float
    threshold: float
    passes: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """Every genre of one poster, the highest score first.

    decode_ms: reading and resizing this poster. predict_ms: the model, for the batch that the poster was in. inputs:
    as `training.drift.poster_inputs`; none where another process scored it.
    """

    genres: tuple[GenreScore, ...]
    decode_ms: float
    predict_ms: float
    inputs: tuple[float, ...] = ()

    @property
    def predicted(self) -> tuple[str, ...]:
        """The genres that pass their thresholds, the highest score first."""
        return tuple(score.genre for score in self.genres if score.passes)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in a poster the model sees a genre.

    heat: float32 [height_px, width_px] of the model's input, 0 to 1. poster: RGB, in its own size.
    """

    genre: GenreScore
    heat: np.ndarray[Any, np.dtype[np.float32]]
    poster: Image.Image


class Predictor:
    """A bundle's model, loaded and warm. Safe to call from several threads."""

    def __init__(
        self,
        runtime: Runtime,
        card: BundleCard,
        load_model: Callable[[], Any],
        *,
        index: PosterIndex | None = None,
        max_batch: int = DEFAULT_MAX_BATCH,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        """runtime: warm, and fits the card. load_model: the same model as a keras.Model, for the first explanation.

        index: of the model's dataset. Raises BundleError for one of another model.
        """
        self.card = card
        self.max_pixels = max_pixels
        self.runtime = runtime
        self._max_batch = max_batch
        # Keras and TensorFlow take half a gigabyte and seconds: not everybody asks for an explanation.
        self._heat_maps = Once(lambda: HeatMaps(load_model()))
        self.finder = Finder(runtime.embed, index, card) if index is not None else None

    @property
    def version(self) -> str:
        """The bundle's."""
        return self.card.version

    @classmethod
    def load(
        cls,
        folder: Path,
        card: BundleCard,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        runtime: RuntimeName = "openvino",
        threads: int | None = None,
        max_batch: int = DEFAULT_MAX_BATCH,
        batch_wait_ms: float = 0,
    ) -> Predictor:
        """The predictor of the bundle in `folder`, verified and warm; the folder is needed no more. Raises BundleError.

        threads: of the runtime, by default one a core. max_batch, batch_wait_ms: of `Batched`.
        """
        loaded = Batched(
            load_runtime(folder, card, runtime, threads=threads), max_batch=max_batch, wait_ms=batch_wait_ms
        )
        index = load_index(folder, card)
        kept = (folder / MODEL_FILE).read_bytes()
        return cls(loaded, card, lambda: _model_of(kept, card), index=index, max_batch=max_batch, max_pixels=max_pixels)

    def predict(self, images: list[bytes]) -> list[Prediction | Rejected]:
        """One outcome an image, in order; an image that is refused never spoils its neighbours."""
        outcomes: list[Prediction | Rejected] = []
        for start in range(0, len(images), self._max_batch):
            outcomes += self._predict_batch(images[start : start + self._max_batch])
        return outcomes

    def similar(self, images: list[bytes], *, top: int) -> list[Found | Rejected]:
        """The most similar posters of the dataset, one outcome an image, in order. Raises BundleError without index."""
        if self.finder is None:
            raise BundleError(self.why_no_index)
        outcomes: list[Found | Rejected] = []
        for start in range(0, len(images), self._max_batch):
            read = [self._pixels(data) for data in images[start : start + self._max_batch]]
            good = [(pixels, ms) for pixels, _, ms in read if not isinstance(pixels, Rejected)]
            found = iter(self.finder.find(good, top=top))
            outcomes += [pixels if isinstance(pixels, Rejected) else next(found) for pixels, _, _ in read]
        return outcomes

    @property
    def why_no_index(self) -> str:
        """The sentence for a bundle that has no index."""
        return (
            f"model {self.version} was registered without an index of its posters, so it finds no similar ones; "
            "train it again, and promote the version that is registered"
        )

    def explain(self, data: bytes, genre: str | None = None) -> Explanation | Rejected:
        """Where the model sees a genre in one poster; without a name, the genre with the highest score.

        Raises KeyError for a genre that the model does not know.
        """
        image = decode(data, max_pixels=self.max_pixels)
        if isinstance(image, Rejected):
            return image
        poster = to_rgb(image)
        pixels = to_pixels(poster, height_px=self.card.height_px, width_px=self.card.width_px)[None]
        place = -1 if genre is None else {name: at for at, name in enumerate(self.card.genres)}[genre]
        [heat], [scores] = self._heat_maps().with_scores(pixels, [place])
        ranked = self._ranked(scores)
        chosen = ranked[0] if genre is None else next(score for score in ranked if score.genre == genre)
        return Explanation(chosen, heat, poster)

    def _predict_batch(self, images: list[bytes]) -> list[Prediction | Rejected]:
        read = [self._pixels(data) for data in images]
        batch = [pixels for pixels, _, _ in read if not isinstance(pixels, Rejected)]
        if not batch:
            return [pixels for pixels, _, _ in read if isinstance(pixels, Rejected)]
        started = time.perf_counter()
        scores = iter(self.runtime(np.stack(batch)))
        predict_ms = _ms_since(started)
        return [
            pixels
            if isinstance(pixels, Rejected)
            else Prediction(self._ranked(next(scores)), decode_ms=decode_ms, predict_ms=predict_ms, inputs=inputs)
            for pixels, inputs, decode_ms in read
        ]

    def _pixels(self, data: bytes) -> tuple[np.ndarray[Any, np.dtype[np.uint8]] | Rejected, tuple[float, ...], float]:
        """A poster's pixels, what drift is told by, and the milliseconds that it took."""
        started = time.perf_counter()
        image = decode(data, max_pixels=self.max_pixels)
        if isinstance(image, Rejected):
            return image, (), _ms_since(started)
        pixels = to_pixels(image, height_px=self.card.height_px, width_px=self.card.width_px)
        return pixels, poster_inputs(image.size, pixels), _ms_since(started)

    def _ranked(self, scores: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[GenreScore, ...]:
        genres = [
            GenreScore(genre, float(score), threshold, passes=bool(score >= threshold))
            for genre, score, threshold in zip(self.card.genres, scores, self.card.thresholds, strict=True)
        ]
        return tuple(sorted(genres, key=lambda genre: genre.score, reverse=True))


class Once(Generic[Made]):
    """Makes a thing when it is first asked for, and gives the same to every thread."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make: Callable[[], Made] | None = make
        self._made: Made
        self._lock = threading.Lock()

    def __call__(self) -> Made:
        """The thing; what its making raises, until it is made."""
        with self._lock:
            if self._make is not None:
                self._made = self._make()
                self._make = None
        return self._made


def predict_among(
    predict: Callable[[list[bytes]], list[Outcome]], read: Sequence[bytes | Other]
) -> list[Outcome | Other]:
    """Predict the images among what was read; what is there in place of an image stays in its place."""
    outcomes = iter(predict([data for data in read if isinstance(data, bytes)]))
    return [next(outcomes) if isinstance(data, bytes) else data for data in read]


def _model_of(data: bytes, card: BundleCard) -> Any:
    start_tensorflow()
    with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
        (Path(folder) / MODEL_FILE).write_bytes(data)
        only_it = card.model_copy(update={"files": {MODEL_FILE: card.files[MODEL_FILE]}})
        return load_model(Path(folder), only_it)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
