"""Pure: how far the posters that a model meets, and what it says of them, are from the validation posters.

The figure is the population stability index of two histograms, 0 where they are the same. Custom has it that 0.1 is
little and 0.25 much; what chance alone makes of it follows Yurdakul and Naranjo 2020, "Statistical properties of the
population stability index".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from PIL import Image, ImageStat
from pydantic import BaseModel, ConfigDict, model_validator

Array = np.ndarray[Any, Any]

# What of a poster is looked at, with the edges of its histogram; all but the last two in grey values, 0 to 255, of the
# pixels that the model sees. Of posters most have one of a few shapes, so the bins around these are narrow.
INPUTS: dict[str, tuple[float, ...]] = {
    "brightness": tuple(range(16, 256, 16)),
    "contrast": tuple(range(8, 128, 8)),
    "saturation": tuple(range(8, 192, 8)),
    "sharpness": (2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40, 48, 60, 80),
    "height_px": (64, 96, 128, 160, 200, 250, 300, 350, 400, 500, 600, 800, 1200),
    "aspect": (0.5, 0.6, 0.64, 0.66, 0.68, 0.7, 0.75, 0.85, 1.0, 1.4),
}
_SCORE_BINS = 10
# Less than custom calls much, and more than chance makes once in ten thousand.
_LEAST_LIMIT = 0.2
_CHANCE = 1e-4


class Histogram(BaseModel):
    """Counts between edges: the first bin is all below the first edge, the last one the last edge and all above."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("a histogram has rising edges, and one more count than edges")
        return self

    @classmethod
    def of(cls, values: Array, edges: Sequence[float]) -> Histogram:
        """The histogram of finite values."""
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        return cls(edges=tuple(float(edge) for edge in edges), counts=tuple(int(count) for count in counts))


class GenreReference(BaseModel):
    """A genre's scores of the validation posters. share: of the posters, that pass the genre's threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    genre: str
    mean_score: float
    share: float
    scores: Histogram


class InputReference(BaseModel):
    """One of INPUTS, of the validation posters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: float
    values: Histogram


class Reference(BaseModel):
    """What drift is measured from: so many validation posters, made at most so high when the dataset was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    posters: int
    max_height_px: int
    genres: tuple[GenreReference, ...]
    inputs: tuple[InputReference, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one figure is from its reference. limit: an index above it is a drift, and no chance."""

    name: str
    index: float
    limit: float
    mean: float
    reference_mean: float

    @property
    def is_drift(self) -> bool:
        """Whether the index is above its limit."""
        return self.index > self.limit


def poster_inputs(size: tuple[int, int], pixels: Array) -> tuple[float, ...]:
    """A poster's values, in the order of INPUTS.

    size: of the poster as it came, width and height in px. pixels: uint8 [H, W, 3], what the model sees of it.
    """
    grey = Image.fromarray(pixels).convert("L")
    stat = ImageStat.Stat(grey)
    values = np.asarray(grey, dtype=np.int16)
    # Every fourth pixel, or line, tells as much, in a fraction of the time.
    few = pixels[::4, ::4]
    # By channels: over an axis of three, NumPy takes six times as long.
    red, green, blue = few[..., 0], few[..., 1], few[..., 2]
    largest, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    saturation = (largest - least).mean()
    sharpness = (np.abs(np.diff(values[:, ::4], axis=0)).mean() + np.abs(np.diff(values[::4], axis=1)).mean()) / 2
    return (stat.mean[0], stat.stddev[0], float(saturation), float(sharpness), float(size[1]), size[0] / size[1])


def reference_of(
    genres: Sequence[str], scores: Array, thresholds: Sequence[float], inputs: Array, *, max_height_px: int
) -> Reference:
    """What is kept of the validation posters.

    scores: float [posters, genres]. inputs: float [some of the posters, len(INPUTS)].
    """
    parts = np.linspace(0, 1, _SCORE_BINS + 1)[1:-1]
    passing = scores >= np.asarray(thresholds)
    return Reference(
        posters=len(scores),
        max_height_px=max_height_px,
        genres=tuple(
            GenreReference(
                genre=genre,
                mean_score=float(scores[:, g].mean()),
                share=float(passing[:, g].mean()),
                # As many posters in each bin: most genres are rare, and their scores lie close to 0.
                scores=Histogram.of(scores[:, g], np.unique(np.quantile(scores[:, g], parts)).tolist()),
            )
            for g, genre in enumerate(genres)
        ),
        inputs=tuple(
            InputReference(name=name, mean=float(inputs[:, i].mean()), values=Histogram.of(inputs[:, i], edges))
            for i, (name, edges) in enumerate(INPUTS.items())
        ),
    )


def genre_shifts(reference: Reference, scores: dict[str, Array]) -> list[Shift]:
    """A shift a genre. scores: of the posters met, one array a genre, all of the same length, at least 1."""
    return [_shift(it.genre, it.scores, it.mean_score, scores[it.genre]) for it in reference.genres]


def input_shifts(reference: Reference, inputs: Array) -> list[Shift]:
    """A shift for each of INPUTS. inputs: float [posters, len(INPUTS)] of the posters met, at least 1."""
    met = inputs.copy()
    height = list(INPUTS).index("height_px")
    # The dataset's posters were made this high; that those in service were not yet is no drift.
    met[:, height] = np.minimum(met[:, height], reference.max_height_px)
    return [_shift(it.name, it.values, it.mean, met[:, i]) for i, it in enumerate(reference.inputs)]


def stability_index(expected: Sequence[int], found: Sequence[int]) -> float:
    """The population stability index of two histograms with the same bins; half a count is added to every bin."""
    p, q = ((np.asarray(counts) + 0.5) / (sum(counts) + 0.5 * len(counts)) for counts in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def chance_limit(bins: int, expected: int, found: int) -> float:
    """What the index of two samples of one population, of so many each, exceeds once in ten thousand times."""
    from scipy.special import chdtri  # noqa: PLC0415  each command imports this module

    return float((1 / expected + 1 / found) * chdtri(max(1, bins - 1), _CHANCE))


def _shift(name: str, reference: Histogram, reference_mean: float, values: Array) -> Shift:
    found = Histogram.of(values, reference.edges)
    limit = chance_limit(len(reference.counts), sum(reference.counts), len(values))
    return Shift(
        name=name,
        index=stability_index(reference.counts, found.counts),
        limit=max(_LEAST_LIMIT, limit),
        mean=float(values.mean()),
        reference_mean=reference_mean,
    )
