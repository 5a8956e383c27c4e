"""Small pictures for an evaluation's page: posters, and what each genre's detector looks at."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from training.answers import Answers
from training.bundle import BundleCard
from training.preprocessing import to_pixels, to_rgb
from training.rows import Rows
from training.saliency import HeatMaps
from training.shading import png, shade

_THUMBNAIL_PX = (168, 252)
_HEAT_PX = (42, 63)
_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Look:
    """A poster with what a genre's detector looks at: JPEG, and a small PNG that darkens what does not count."""

    imdb_id: str
    title: str
    score: float
    is_true: bool
    thumbnail: bytes
    shade: bytes


def thumbnail(data: bytes) -> bytes:
    """A small JPEG of a poster, of one size for all, the aspect ratio given up."""
    with Image.open(io.BytesIO(data)) as image:
        small = to_rgb(image).resize(_THUMBNAIL_PX, Image.Resampling.LANCZOS, reducing_gap=3.0)
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=74, optimize=True)
    return sink.getvalue()


def looks_of(
    model: Any, bundle: BundleCard, rows: Rows, answers: Answers, titles: dict[str, str]
) -> dict[str, tuple[Look, ...]]:
    """The highest-scored posters of each genre, and the highest-scored one without it."""
    y_true, scores = answers.test.y_true, answers.test.scores
    chosen: list[tuple[int, int]] = []
    for g in range(len(answers.genres)):
        ranked = np.argsort(-scores[:, g], kind="stable")
        has = y_true[ranked, g] > 0
        chosen += [(g, int(row)) for row in (*ranked[has][:_LOOKS], *ranked[~has][:1])]
    maps = HeatMaps(model)
    size = {"height_px": bundle.height_px, "width_px": bundle.width_px}
    looks: dict[str, list[Look]] = {genre: [] for genre in answers.genres}
    for part in _batches(chosen, 8):
        posters = [rows.encoded(row) for _, row in part]
        pixels = np.stack([to_pixels(Image.open(io.BytesIO(data)), **size) for data in posters])
        heats = maps(pixels, [bundle.genres.index(answers.genres[g]) for g, _ in part])
        for (g, row), data, heat in zip(part, posters, heats, strict=True):
            imdb_id = answers.test.imdb_ids[row]
            looks[answers.genres[g]].append(
                Look(
                    imdb_id,
                    titles.get(imdb_id, ""),
                    float(scores[row, g]),
                    bool(y_true[row, g]),
                    thumbnail(data),
                    png(shade(heat, _HEAT_PX)),
                )
            )
    return {genre: tuple(found) for genre, found in looks.items()}


def _batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
