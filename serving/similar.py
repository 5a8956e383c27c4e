"""Pure: what the served model sees in posters → the most similar posters of its dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.bundle import BundleCard, BundleError
from training.similar import PosterIndex, SimilarPoster

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Found:
    """The posters of the dataset that are most like one, the most similar first.

    decode_ms: reading and resizing the one. find_ms: the model and the index, for all that were asked together.
    """

    posters: tuple[SimilarPoster, ...]
    decode_ms: float
    find_ms: float


class Finder:
    """What a bundle's model sees and the bundle's index, warm. Safe to call from several threads."""

    def __init__(self, embedder: Callable[[Pixels], Any], index: PosterIndex, card: BundleCard) -> None:
        """embedder: of the bundle's model, uint8 [N, H, W, 3] → float32 [N, F].

        Raises BundleError for an index that is not of this model.
        """
        self.index = index
        self._embedder = embedder
        blank = np.zeros((1, card.height_px, card.width_px, 3), np.uint8)
        try:
            # The first caller waits for no graph.
            self.nearest(blank, top=1)
        except BundleError as error:
            raise BundleError(f"bundle {card.version} is refused: {error}") from error

    def nearest(self, pixels: Pixels, *, top: int) -> list[tuple[SimilarPoster, ...]]:
        """The most similar posters for each of uint8 [N, H, W, 3]."""
        return [tuple(posters) for posters in self.index.nearest(self._embedder(pixels), top)]

    def find(self, read: list[tuple[Pixels, float]], *, top: int) -> list[Found]:
        """As `nearest`, of pixels and the milliseconds that their reading took."""
        if not read:
            return []
        started = time.perf_counter()
        found = self.nearest(np.stack([pixels for pixels, _ in read]), top=top)
        find_ms = (time.perf_counter() - started) * 1000
        return [Found(posters, decode_ms, find_ms) for posters, (_, decode_ms) in zip(found, read, strict=True)]
