"""The validation posters of a dataset → what a bundle's card keeps of them, for drift to be measured from."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cluster.store import Store
from training.answers import load_answers
from training.dataset import Card
from training.drift import Reference, poster_inputs, reference_of
from training.preprocessing import to_pixels
from training.rows import Rows

# Enough for a histogram; of more posters every second, third, … is looked at.
_MOST_POSTERS = 2000


def validation_reference(
    store: Store, dataset: Card, version: str, thresholds: Sequence[float], *, height_px: int, width_px: int
) -> Reference | None:
    """What a version's card keeps of the validation split; None where its answers were not kept.

    thresholds: a genre's own, in the dataset's order. height_px, width_px: the model's input.
    """
    answers = load_answers(store, version, dataset.dataset_id)
    if answers is None:
        return None
    with Rows(store, dataset, "validation") as rows:
        step = -(-len(rows) // _MOST_POSTERS)
        inputs = []
        for row in range(0, len(rows), step):
            image = Image.open(io.BytesIO(rows.encoded(row)))
            pixels = to_pixels(image, height_px=height_px, width_px=width_px)
            inputs.append(poster_inputs(image.size, pixels))
    return reference_of(
        answers.genres,
        answers.validation.scores,
        thresholds,
        np.array(inputs),
        max_height_px=int(dataset.options["max_height_px"]),
    )
