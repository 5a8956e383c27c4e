"""Pure: the bytes of posters → genre scores, from a bundle. Knows no HTTP and no Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from crawler.images import decode
from crawler.outcomes import Rejected
from serving.similar import Finder, Found
from training.bundle import BundleCard, BundleError, load_index, load_model
from training.drift import poster_inputs
from training.preprocessing import to_pixels, to_rgb
from training.saliency import HeatMaps
from training.similar import PosterIndex

Other = TypeVar("Other")
Outcome = TypeVar("Outcome")
DEFAULT_MAX_PIXELS = 50_000_000
# Bounds the memory of one call; on two cores larger batches are no faster.
_BATCH = 16


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
        self, model: Any, card: BundleCard, *, max_pixels: int = DEFAULT_MAX_PIXELS, index: PosterIndex | None = None
    ) -> None:
        """model: a keras.Model that fits the card. index: of its dataset. Raises BundleError if they cannot be used."""
        import tensorflow as tf  # noqa: PLC0415

        self.card = card
        self.max_pixels = max_pixels
        pixels = tf.TensorSpec([None, card.height_px, card.width_px, 3], tf.uint8)
        # `model.predict` at batch 1 takes five times as long, and an eager call ten times.
        self._scores = tf.function(lambda batch: model(batch, training=False), input_signature=[pixels])
        # Its graph is traced by the first poster that is to be explained: not everybody asks.
        self._heat_maps = HeatMaps(model)
        self._warm_up()
        self.finder = Finder(model, index, card) if index is not None else None

    @property
    def version(self) -> str:
        """The bundle's."""
        return self.card.version

    @classmethod
    def load(cls, folder: Path, card: BundleCard, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Predictor:
        """The predictor of the bundle in `folder`, verified and warm. Raises BundleError."""
        return cls(load_model(folder, card), card, max_pixels=max_pixels, index=load_index(folder, card))

    def predict(self, images: list[bytes]) -> list[Prediction | Rejected]:
        """One outcome an image, in order; an image that is refused never spoils its neighbours."""
        outcomes: list[Prediction | Rejected] = []
        for start in range(0, len(images), _BATCH):
            outcomes += self._predict_batch(images[start : start + _BATCH])
        return outcomes

    def similar(self, images: list[bytes], *, top: int) -> list[Found | Rejected]:
        """The most similar posters of the dataset, one outcome an image, in order. Raises BundleError without index."""
        if self.finder is None:
            raise BundleError(self.why_no_index)
        outcomes: list[Found | Rejected] = []
        for start in range(0, len(images), _BATCH):
            read = [self._pixels(data) for data in images[start : start + _BATCH]]
            good = [(pixels, ms) for pixels, ms in read if not isinstance(pixels, Rejected)]
            found = iter(self.finder.find(good, top=top))
            outcomes += [pixels if isinstance(pixels, Rejected) else next(found) for pixels, _ in read]
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
        [heat], [scores] = self._heat_maps.with_scores(pixels, [place])
        ranked = self._ranked(scores)
        chosen = ranked[0] if genre is None else next(score for score in ranked if score.genre == genre)
        return Explanation(chosen, heat, poster)

    def _predict_batch(self, images: list[bytes]) -> list[Prediction | Rejected]:
        read = [self._pixels(data) for data in images]
        batch = [pixels for pixels, _, _ in read if not isinstance(pixels, Rejected)]
        if not batch:
            return [pixels for pixels, _, _ in read if isinstance(pixels, Rejected)]
        started = time.perf_counter()
        scores = iter(self._scores(np.stack(batch)).numpy())
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

    def _warm_up(self) -> None:
        blank = np.zeros((1, self.card.height_px, self.card.width_px, 3), np.uint8)
        # The first call traces the graph, the second runs it; a poster then waits for neither.
        for _ in range(2):
            scores = self._scores(blank).numpy()
        if not np.isfinite(scores).all():
            raise BundleError(f"the model of bundle {self.card.version} scores a blank poster as {scores[0]}")


def predict_among(
    predict: Callable[[list[bytes]], list[Outcome]], read: Sequence[bytes | Other]
) -> list[Outcome | Other]:
    """Predict the images among what was read; what is there in place of an image stays in its place."""
    outcomes = iter(predict([data for data in read if isinstance(data, bytes)]))
    return [next(outcomes) if isinstance(data, bytes) else data for data in read]


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
