"""Pure: spellings of genres folded into one name each, the vocabulary of a dataset, and genres as multi-hot vectors."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cluster.errors import TrainingError

# IMDb's names, and what other catalogues write for them. `Music` (a film about music) and `Musical` (a film that sings)
# are two genres at IMDb and stay two here. Case, accents, blanks and punctuation never make a genre of their own.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "Action & Adventure": ("Action", "Adventure"),
    "Animated": ("Animation",),
    "Anime": ("Animation",),
    "Autobiography": ("Biography",),
    "Bio": ("Biography",),
    "Biographical": ("Biography",),
    "Biopic": ("Biography",),
    "Cartoon": ("Animation",),
    "Children": ("Family",),
    "Children's": ("Family",),
    "Comedies": ("Comedy",),
    "Doc": ("Documentary",),
    "Documentaries": ("Documentary",),
    "Dramas": ("Drama",),
    "Film Noir": ("Film-Noir",),
    "Game Show": ("Game-Show",),
    "Historical": ("History",),
    "Kids": ("Family",),
    "Kids & Family": ("Family",),
    "Musicals": ("Musical",),
    "Mysteries": ("Mystery",),
    "Noir": ("Film-Noir",),
    "Reality": ("Reality-TV",),
    "Reality TV": ("Reality-TV",),
    "Rom-Com": ("Comedy", "Romance"),
    "Romantic": ("Romance",),
    "Romantic Comedy": ("Comedy", "Romance"),
    "Sci-Fi & Fantasy": ("Sci-Fi", "Fantasy"),
    "SF": ("Sci-Fi",),
    "Science Fiction": ("Sci-Fi",),
    "SciFi": ("Sci-Fi",),
    "Short Film": ("Short",),
    "Sports": ("Sport",),
    "Suspense": ("Thriller",),
    "Talk": ("Talk-Show",),
    "Talk Show": ("Talk-Show",),
    "Thrillers": ("Thriller",),
    "War & Politics": ("War",),
    "Westerns": ("Western",),
}


class GenreError(TrainingError):
    """A synonym that cannot be understood."""


def synonyms_of(pairs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`Kids=Family`, `Dramedy=Drama,Comedy` or `Adult=` (a genre to ignore), as they come from a command line.

    Raises GenreError for one without a `=`.
    """
    found = {}
    for pair in pairs:
        spelling, equals, names = pair.partition("=")
        if not equals or not _key(spelling):
            raise GenreError(f"--synonym {pair!r}: write it as Spelling=Genre, such as Kids=Family")
        found[spelling.strip()] = tuple(name.strip() for name in names.split(",") if name.strip())
    return found


def fold(counts: Mapping[str, int], synonyms: Mapping[str, Sequence[str]] | None = None) -> dict[str, tuple[str, ...]]:
    """Each spelling that occurs → the genres that it stands for; none for one to ignore.

    counts: how often each spelling occurs; of spellings that differ only in case, blanks or punctuation, and that no
    table names, the most frequent one becomes the genre's name. synonyms: over SYNONYMS, and as strong.
    """
    table: dict[str, tuple[str, ...]] = {_key(name): (name,) for names in SYNONYMS.values() for name in names}
    table |= {_key(spelling): names for spelling, names in SYNONYMS.items()}
    for spelling, names in (synonyms or {}).items():
        table[_key(spelling)] = tuple(names)
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for spelling in counts:
        alike[_key(spelling)].append(spelling)
    folded: dict[str, tuple[str, ...]] = {}
    for key, spellings in alike.items():
        commonest = min(spellings, key=lambda spelling: (-counts[spelling], spelling))
        names = table.get(key, (commonest,))
        folded |= dict.fromkeys(spellings, tuple(names))
    return folded


def vocabulary(counts: Mapping[str, int], *, min_posters: int) -> tuple[str, ...]:
    """The genres that at least `min_posters` posters have, in alphabetical order. counts: posters by genre."""
    return tuple(sorted(genre for genre, count in counts.items() if count >= min_posters))


def multi_hot(labels: Sequence[Sequence[str]], genres: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [posters, genres] of 0 and 1; genres outside the vocabulary are left out."""
    column = {genre: index for index, genre in enumerate(genres)}
    encoded = np.zeros((len(labels), len(genres)), np.float32)
    for row, names in enumerate(labels):
        encoded[row, [column[name] for name in names if name in column]] = 1
    return encoded


def _key(spelling: str) -> str:
    """`scifi` of `Sci-Fi`, `sci fi` and `SciFi`; a name without letters is its own key."""
    plain = unicodedata.normalize("NFKD", spelling).casefold()
    return re.sub(r"[\W_]+", "", plain.replace("&", "and")) or spelling.strip()
