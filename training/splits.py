"""Pure: which poster is for training, which for validation, which for test, and which a smaller sample takes.

Groups of near-duplicates go to a side as one. Multi-label iterative stratification (Sechidis, Tsoumakas and Vlahavas
2011) gives each side its share of every genre. A title that has a side keeps it as the catalogue grows: only groups
without one are stratified, to where posters are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SPLITS = ("train", "validation", "test")
NO_SIDE = -1

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Split:
    """side: int8 [rows], an index into SPLITS, or NO_SIDE where a row must stay out.

    clashes: bool [rows], those that had a side and are out, since they now look like a title of a side that must stay
    unseen: a title of `train` that is a near-duplicate of one of `test`.
    """

    side: Sides
    clashes: Bools


def stratified(
    labels: Bools, groups: Numbers, ids: Numbers, shares: Mapping[str, float], kept: Sides | None = None
) -> Split:
    """A side for each row.

    labels: bool [rows, genres]. groups: int64 [rows], equal where rows must stay on one side. ids: int64 [rows], the
    titles' numbers, which alone decide the order in which groups are dealt out: the order of rows does not matter.
    shares: by name of SPLITS, together 1. kept: int8 [rows], the side that a title has from before, or NO_SIDE.
    Of a group with kept titles on several sides the most protected one (test, then validation) stays.
    """
    first, member = np.unique(groups, return_inverse=True)
    side = np.full(len(first), NO_SIDE, np.int8)
    kept = np.full(len(groups), NO_SIDE, np.int8) if kept is None else kept
    # A later split is a more protected one, so that the largest index wins.
    np.maximum.at(side, member, kept)
    has_clash = (kept != NO_SIDE) & (kept != side[member])

    new = np.flatnonzero(side == NO_SIDE)
    if len(new):
        wanted = np.array([shares[name] for name in SPLITS]) * len(first)
        missing = np.maximum(wanted - np.bincount(side[side != NO_SIDE], minlength=len(SPLITS)), 0)
        by_group = np.argsort(member, kind="stable")
        starts = np.searchsorted(member[by_group], np.arange(len(first)))
        group_labels = np.logical_or.reduceat(labels[by_group], starts, axis=0)
        smallest = np.minimum.reduceat(ids[by_group], starts)
        side[new] = _dealt(group_labels[new], smallest[new], missing / missing.sum())
    return Split(np.where(has_clash, NO_SIDE, side[member]).astype(np.int8), has_clash)


def leaks(groups: Numbers, side: Sides) -> int:
    """How many groups have rows on more than one side."""
    rows = side != NO_SIDE
    pairs = np.unique(np.stack([groups[rows], side[rows].astype(np.int64)]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


def sampled(labels: Bools, side: Sides, ids: Numbers, size: int) -> Bools:
    """Which rows a stratified part of `size` rows takes, in proportion from each side: bool [rows].

    size: at most the rows that have a side. The same title is in the same split of the part and of the whole.
    """
    counts = np.array([(side == index).sum() for index in range(len(SPLITS))])
    quotas = _in_proportion(counts, size)
    taken = np.zeros(len(side), np.bool_)
    for index, (count, quota) in enumerate(zip(counts, quotas, strict=True)):
        if not quota:
            continue
        rows = np.flatnonzero(side == index)
        rows = rows[np.argsort(scattered(ids[rows]), kind="stable")]
        is_in = _dealt(labels[rows], ids[rows], np.array([1 - quota / count, quota / count])) == 1
        # Iterative stratification cares for labels first and meets sizes nearly.
        excess = int(is_in.sum()) - int(quota)
        is_in[np.flatnonzero(is_in == (excess > 0))[: abs(excess)]] = excess < 0
        taken[rows[is_in]] = True
    return taken


def scattered(ids: Numbers) -> npt.NDArray[np.uint64]:
    """A number for each id that looks random and is the same for ever: SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _dealt(labels: Bools, ids: Numbers, shares: npt.NDArray[Any]) -> Numbers:
    """An index into `shares` for each row."""
    from iterstrat.ml_stratifiers import IterativeStratification  # noqa: PLC0415  scikit-learn takes a second

    # It fills the largest side first, so whatever order the ids are in would be an order of the sides.
    order = np.argsort(scattered(ids), kind="stable")
    dealt = np.empty(len(ids), np.int64)
    dealt[order] = IterativeStratification(labels[order], shares.astype(np.float64), np.random.RandomState(0))
    return dealt


def _in_proportion(counts: Numbers, size: int) -> Numbers:
    """Whole numbers in proportion to `counts` that add up to `size`: the largest remainders are rounded up."""
    exact = counts * (size / counts.sum())
    quotas = np.floor(exact).astype(np.int64)
    quotas[np.argsort(quotas - exact, kind="stable")[: size - quotas.sum()]] += 1
    return np.minimum(quotas, counts)
