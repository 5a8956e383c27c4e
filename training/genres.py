"""Pure: the genre vocabulary, and genres as multi-hot vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def vocabulary(labels: Iterable[Sequence[str]], *, min_posters: int) -> tuple[str, ...]:
    """The genres that at least `min_posters` posters have, in alphabetical order."""
    counts = Counter(genre for genres in labels for genre in set(genres))
    return tuple(sorted(genre for genre, count in counts.items() if count >= min_posters))


def multi_hot(labels: Sequence[Sequence[str]], genres: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [posters, genres] of 0 and 1; genres outside the vocabulary are left out."""
    column = {genre: index for index, genre in enumerate(genres)}
    encoded = np.zeros((len(labels), len(genres)), np.float32)
    for row, names in enumerate(labels):
        encoded[row, [column[name] for name in names if name in column]] = 1
    return encoded
