"""Pure: posters that belong together: the same picture within a Hamming distance, or the same title.

Neighbours of a perceptual hash are found without comparing all with all: if two hashes of 64 bits differ in at most d
of them and the bits are dealt into d + k bands, at least k bands are equal. So each choice of k bands is a key to sort
by, and only hashes with an equal key are compared (multi-index hashing: Norouzi, Punjani and Fleet 2012; the search by
combinations of equal blocks: Manku, Jain and Das Sarma 2007). Exact, in memory proportional to the rows.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BITS = 64
MAX_DISTANCE = 16
# Of a comparison, in the cost of a row times log2(rows) of a sort; measured at 200,000 and a million hashes.
_COMPARING = 8
# A title that more titles share is a phrase (`Pilot`, `Episode #1.1`), not a film that came out again.
MAX_SAME_TITLE = 20

_TITLES_AT_ONCE = 16_384

_EDITIONS = re.compile(
    r"[(\[]?\b(re-?release|re-?issue|restored|remastered|(the )?(director'?s|final|extended|theatrical|uncut) "
    r"(cut|edition|version)|(special|anniversary|extended|collector'?s) edition|imax|3-?d)\b[)\]]?|\(\d{4}\)"
)

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def default_distance(posters: int) -> int:
    """The Hamming distance at which copies are found and strangers are few.

    Measured on 5,394 real posters: encoding again and resizing change at most 4 bits, cutting off 1% a side 2 to 10
    (median 2), 2% a side up to 12 (median 4, nine in ten at most 8). Of their 14.5 million pairs, 1 is a copy (0 bits),
    2 strangers are within 8 bits, 8 within 10, 95 within 12. Strangers grow with the square of the catalogue: beyond a
    million posters those at 8 bits would begin to link everything with everything.
    """
    return 8 if posters <= 1_000_000 else 6


def groups_of(
    phash: npt.NDArray[Any], has_phash: npt.NDArray[np.bool_], keys: list[npt.NDArray[Any]], *, distance: int
) -> Numbers:
    """A group number a row: rows in one group are near-duplicates, directly or by way of others.

    phash: uint64 [rows]; rows without `has_phash` are near nobody. keys: int64 [rows] each; rows with the same
    number that is not negative belong together. distance: bits that may differ, 0 to MAX_DISTANCE. Returns int64
    [rows]: the group's first row.
    """
    from scipy.sparse import coo_array  # noqa: PLC0415  half a second that no other command needs
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415  as above

    rows = len(phash)
    links = [_first_of_key(phash.astype(np.uint64), has_phash)]
    links += [_first_of_key(key, key >= 0) for key in keys]
    hashed = np.flatnonzero(has_phash)
    distinct, firsts = np.unique(phash[hashed].astype(np.uint64), return_index=True)
    links += [hashed[firsts[pairs]] for pairs in near_pairs(distinct, distance)]
    one, other = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.int64)
    graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(rows, rows))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def near_pairs(hashes: Hashes, distance: int) -> Iterator[Numbers]:
    """Pairs of distinct hashes that differ in 1 to `distance` bits, as int64 [2, pairs]; a pair may come twice."""
    if distance < 1 or len(hashes) < 2:
        return
    bands, equal = _bands(len(hashes), distance)
    # Bits that lie side by side tell nearly the same of a picture: dealt out like cards they spread over the bands.
    masks = [np.uint64(sum(1 << bit for bit in range(band, BITS, bands))) for band in range(bands)]
    for chosen in combinations(masks, equal):
        key = hashes & np.bitwise_or.reduce(np.array(chosen))
        order = np.argsort(key)
        key, sorted_hashes = key[order], hashes[order]
        place, apart = np.arange(len(key) - 1), 1
        while len(place):
            place = place[key[place] == key[place + apart]]
            near = place[np.bitwise_count(sorted_hashes[place] ^ sorted_hashes[place + apart]) <= distance]
            if len(near):
                yield np.stack([order[near], order[near + apart]]).astype(np.int64)
            apart += 1
            place = place[place + apart < len(key)]


def title_keys(titles: pa.ChunkedArray) -> Numbers:
    """A number a row, the same for titles that read the same; -1 where there is none, and for phrases.

    Case, accents, punctuation, a year in brackets and words for an edition (`Remastered`, `Director's Cut`) do not
    count. A film's year does not either: a re-release has one of its own. int64 [rows].
    """
    parts = (titles.slice(start, _TITLES_AT_ONCE).to_pylist() for start in range(0, len(titles), _TITLES_AT_ONCE))
    keys = np.fromiter((_key(title) for part in parts for title in part), np.int64, len(titles))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.where(counts[inverse] <= MAX_SAME_TITLE, keys, -1)


def _key(title: str | None) -> int:
    if title is None or not (folded := _folded(title)):
        return -1
    # 63 bits of a hash: two of ten million titles meet by chance once in 200,000 catalogues.
    return int.from_bytes(hashlib.blake2b(folded.encode(errors="replace"), digest_size=8).digest(), "big") >> 1


def _folded(title: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", title) if not unicodedata.combining(c)).casefold()
    return re.sub(r"[\W_]+", " ", _EDITIONS.sub(" ", plain)).strip() or re.sub(r"\s+", " ", plain).strip()


def _first_of_key(key: npt.NDArray[Any], is_meant: npt.NDArray[np.bool_]) -> Numbers:
    """Links from each row that is meant to the first with the same key, int64 [2, links]."""
    rows = np.flatnonzero(is_meant)
    _, first, inverse = np.unique(key[rows], return_index=True, return_inverse=True)
    links = np.stack([rows, rows[first[inverse]]]) if len(rows) else np.zeros((2, 0), np.int64)
    return links[:, links[0] != links[1]].astype(np.int64)


def _bands(rows: int, distance: int) -> tuple[int, int]:
    """How many bands, and how many of them must be equal, for the least work: sorting against comparing."""

    def work(equal: int) -> float:
        bands = distance + equal
        compared = rows * rows / 2 ** (BITS * equal / bands + 1)
        return math.comb(bands, equal) * (rows * math.log2(rows) + _COMPARING * compared)

    equal = min(range(1, 7), key=work)
    return distance + equal, equal
