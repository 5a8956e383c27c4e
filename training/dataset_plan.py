"""Which posters a dataset takes, with which genres and on which side, and why all other titles are left out.

A plan is made from columns alone; no poster is read for it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from crawler.images import MIN_SIDE_PX
from training.candidates import DROPPED, Candidates, Labels, label
from training.dataset_card import SCHEMA_VERSION, DatasetError
from training.genres import synonyms_of
from training.known_sides import KnownSides, sides_table
from training.near_duplicates import MAX_DISTANCE, default_distance, groups_of, title_keys
from training.shards import POSTERS_A_SHARD, ShardTask
from training.splits import NO_SIDE, SPLITS, Bools, Numbers, Sides, Split, leaks, sampled, stratified

_GROUPS_SHOWN = 6
_POSTERS_OF_A_GROUP_SHOWN = 5
_HASHED_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """All that shapes a dataset besides the crawl and a split that is given or kept.

    max_height_px: taller posters are made this high. A crawl asks for 600 px, and the largest input in use is 544, so
    that the default keeps nearly all posters as they are. min_posters: genres with fewer are left out; None: 1% of the
    labelled posters, and at least 10. near_duplicates: the Hamming distance of perceptual hashes within which posters
    stay on one side; None: by the size of the catalogue. same_titles: whether titles that read the same do too.
    sample: take a stratified part of so many posters. synonyms: `Spelling=Genre`, over the built-in ones.
    """

    max_height_px: int = 640
    validation_share: float = 0.1
    test_share: float = 0.2
    min_posters: int | None = None
    max_pixels: int = 50_000_000
    near_duplicates: int | None = None
    same_titles: bool = True
    sample: int | None = None
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.validation_share + self.test_share < 1 or min(self.validation_share, self.test_share) <= 0:
            raise DatasetError(
                f"validation {self.validation_share} and test {self.test_share} must be above 0 and leave some to train"
            )
        if (self.min_posters is not None and self.min_posters < 1) or self.max_height_px < MIN_SIDE_PX:
            raise DatasetError(f"min posters must be at least 1, and the height at least {MIN_SIDE_PX} px")
        if self.near_duplicates is not None and not 0 <= self.near_duplicates <= MAX_DISTANCE:
            raise DatasetError(
                f"near duplicates {self.near_duplicates}: a distance from 0 to {MAX_DISTANCE} of 64 bits; "
                "from 12 on, posters that have nothing in common begin to count as one"
            )
        if self.sample is not None and self.sample < 1:
            raise DatasetError(f"sample {self.sample}: at least 1")
        synonyms_of(self.synonyms)

    @property
    def shares(self) -> dict[str, float]:
        train = 1 - self.validation_share - self.test_share
        return {"train": train, "validation": self.validation_share, "test": self.test_share}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """rows: imdb_id, sha256, is_verified, title, year of the posters to take, ascending by imdb_id. ids: int64 [rows],
    the titles' numbers. multi_hot: bool [rows, genres]. side: int8 [rows]. sides: each labelled poster's split and
    group, also of those that are not taken. dropped: imdb_id and reason, ascending by imdb_id.
    """

    rows: pa.Table
    ids: Numbers
    multi_hot: Bools
    side: Sides
    sides: pa.Table
    dropped: pa.Table
    genres: tuple[str, ...]
    folded: dict[str, int]
    funnel: dict[str, int]
    near_duplicates: dict[str, Any]
    options: dict[str, Any]

    def __len__(self) -> int:
        return len(self.side)


def make_plan(
    candidates: Candidates, crawl_id: str, options: PrepareOptions, kept: KnownSides, given: KnownSides | None
) -> Plan:
    """kept: sides from before, which stay. given: the user's own split, instead of one that is made here.

    Raises DatasetError where nothing is left to learn from, or a split would be empty.
    """
    labels = label(candidates, synonyms_of(options.synonyms), options.min_posters)
    is_labelled = labels.multi_hot.any(axis=1)
    reasons = _Reasons(candidates.posters["imdb_id"], candidates.dropped)
    reasons.add(~labels.has_genre, "no genre")
    reasons.add(labels.has_genre & ~is_labelled, f"only genres of fewer than {labels.min_posters} posters")
    rows = np.flatnonzero(is_labelled)
    if not len(rows):
        raise DatasetError(
            f"crawl {crawl_id} has {len(candidates)} posters and none with a genre of at least "
            f"{labels.min_posters} posters; crawl more titles or lower --min-posters"
        )
    posters, ids = candidates.posters.take(rows), candidates.ids[rows]
    distance = default_distance(len(rows)) if options.near_duplicates is None else options.near_duplicates
    groups = _groups(posters, distance, same_titles=options.same_titles)
    split = _sides(labels.multi_hot[rows], groups, ids, options, kept, given)
    reasons.add(_at(rows[split.clashes], candidates), "near-duplicate of a title in a split that was kept")
    if given is not None:
        reasons.add(_at(rows[split.side == NO_SIDE], candidates), "not in the given split")
    is_taken = split.side != NO_SIDE
    _require_all(split.side, int(is_taken.sum()), "for these shares" if given is None else "in the given split")
    counted = {"titles": candidates.titles, "posters": len(candidates), "labelled": len(rows)}
    if options.sample is not None:
        if options.sample > is_taken.sum():
            raise DatasetError(f"--sample {options.sample}: crawl {crawl_id} has {is_taken.sum()} labelled posters")
        in_sample = sampled(labels.multi_hot[rows], split.side, ids, options.sample)
        reasons.add(_at(rows[is_taken & ~in_sample], candidates), "not in the sample")
        is_taken &= in_sample
        _require_all(split.side[is_taken], options.sample, "in the sample")
        counted["sample"] = int(is_taken.sum())
    return Plan(
        rows=_rows(posters).filter(pa.array(is_taken)),
        ids=ids[is_taken],
        multi_hot=labels.multi_hot[rows[is_taken]],
        side=split.side[is_taken],
        sides=sides_table(posters["imdb_id"].combine_chunks(), split.side, groups),
        dropped=reasons.table(),
        genres=labels.genres,
        folded=labels.folded,
        funnel=counted,
        near_duplicates=_told_groups(posters, groups, split.side, distance),
        options=_told_options(options, labels, given),
    )


def shard_tasks(plan: Plan, dataset_id: str, options: PrepareOptions) -> Iterator[ShardTask]:
    """The shards to make, split after split."""
    names = pa.array(plan.genres, pa.string())
    for index, split in enumerate(SPLITS):
        members = np.flatnonzero(plan.side == index)
        for number, start in enumerate(range(0, len(members), POSTERS_A_SHARD)):
            part = members[start : start + POSTERS_A_SHARD]
            yield ShardTask(
                key=f"datasets/{dataset_id}/{split}/{number:05}.parquet",
                split=split,
                rows=plan.rows.take(part).append_column("genres", _genre_lists(plan.multi_hot[part], names)),
                max_height_px=options.max_height_px,
                max_pixels=options.max_pixels,
            )


def dataset_id_of(plan: Plan, crawl_id: str) -> str:
    """A hash of all that goes in: the rows with their pictures' hashes, genres and sides, what is left out, and the
    options; not of how the sides came about."""
    digest = hashlib.sha256()
    told = [SCHEMA_VERSION, crawl_id, plan.options, list(plan.genres)]
    digest.update(json.dumps(told, sort_keys=True).encode())
    names = pa.array(plan.genres, pa.string())
    for start in range(0, len(plan), _HASHED_AT_ONCE):
        part = slice(start, start + _HASHED_AT_ONCE)
        rows = plan.rows.slice(start, _HASHED_AT_ONCE)
        for column in (rows["imdb_id"], rows["title"], pc.cast(rows["year"], pa.string())):
            digest.update(_text(column))
        digest.update(b"".join(value or b"-" for value in rows["sha256"].to_pylist()))
        digest.update(_text(pc.binary_join(_genre_lists(plan.multi_hot[part], names), "|")))
        digest.update(plan.side[part].tobytes())
    for column in (*plan.dropped.columns, *plan.sides.columns):
        for start in range(0, len(column), _HASHED_AT_ONCE):
            digest.update(_text(column.slice(start, _HASHED_AT_ONCE)))
    return f"ds-{digest.hexdigest()[:12]}"


class _Reasons:
    """Why titles are left out: those without a poster, and rows of the posters as they are found."""

    def __init__(self, imdb_ids: pa.ChunkedArray, dropped: pa.Table) -> None:
        self._imdb_ids = imdb_ids
        self._tables = [dropped]

    def add(self, rows: Bools, reason: str) -> None:
        ids = self._imdb_ids.filter(pa.array(rows))
        self._tables.append(pa.table([ids, pa.repeat(pa.scalar(reason), len(ids))], schema=DROPPED))

    def table(self) -> pa.Table:
        return pa.concat_tables(self._tables).sort_by("imdb_id").combine_chunks()


def _at(rows: npt.NDArray[Any], candidates: Candidates) -> Bools:
    mask = np.zeros(len(candidates), np.bool_)
    mask[rows] = True
    return mask


def _groups(posters: pa.Table, distance: int, *, same_titles: bool) -> Numbers:
    phash = posters["phash"].combine_chunks()
    has_phash = phash.is_valid().to_numpy(zero_copy_only=False)
    # The same bytes are the same picture, also where no hash was computed.
    same_bytes = pc.dictionary_encode(posters["sha256"].combine_chunks()).indices
    keys = [pc.fill_null(same_bytes, -1).to_numpy(zero_copy_only=False).astype(np.int64)]
    if same_titles:
        keys.append(title_keys(posters["title"]))
    hashes = pc.fill_null(phash, 0).to_numpy(zero_copy_only=False)
    return groups_of(hashes, has_phash, keys, distance=distance)


def _sides(
    labels: Bools, groups: Numbers, ids: Numbers, options: PrepareOptions, kept: KnownSides, given: KnownSides | None
) -> Split:
    if given is not None:
        return Split(given.sides(ids), np.zeros(len(ids), np.bool_))
    return stratified(labels, groups, ids, options.shares, kept.sides(ids))


def _require_all(side: Sides, posters: int, where: str) -> None:
    for index, split in enumerate(SPLITS):
        if not (side == index).any():
            raise DatasetError(f"no poster falls into {split}: {posters} are too few {where}")


def _rows(posters: pa.Table) -> pa.Table:
    table = posters.select(["imdb_id", "sha256", "title", "year"])
    return table.append_column("is_verified", pc.is_valid(posters["phash"]))


def _genre_lists(multi_hot: Bools, names: pa.Array) -> pa.Array:
    """bool [rows, genres] → a list of names a row."""
    offsets = np.concatenate([[0], np.cumsum(multi_hot.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(np.nonzero(multi_hot)[1])))


def _told_groups(posters: pa.Table, groups: Numbers, side: Sides, distance: int) -> dict[str, Any]:
    first, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    largest = np.argsort(-size, kind="stable")[:_GROUPS_SHOWN]
    shown = [np.flatnonzero(member == place)[:_POSTERS_OF_A_GROUP_SHOWN] for place in largest if size[place] > 1]
    return {
        "distance": distance,
        "groups": len(first),
        "groups_of_several": int((size > 1).sum()),
        "posters_in_them": int(size[size > 1].sum()),
        "largest": int(size.max()),
        "on_several_sides": leaks(groups, side),
        "without_hash": posters["phash"].null_count,
        "examples": [posters["imdb_id"].take(pa.array(rows)).to_pylist() for rows in shown],
    }


def _told_options(options: PrepareOptions, labels: Labels, given: KnownSides | None) -> dict[str, Any]:
    told = asdict(options) | {"synonyms": list(options.synonyms), "min_posters": labels.min_posters}
    return told | {"split": "stratified" if given is None else "given"}


def _text(column: pa.ChunkedArray | pa.Array) -> bytes:
    """A column of text as bytes that tell every value and null apart."""
    return "\x1e".join("\x00" if value is None else value for value in column.to_pylist()).encode(errors="replace")


def shares_by_genre(multi_hot: Bools, side: Sides, genres: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Posters of each genre in each split."""
    return {
        split: dict(zip(genres, multi_hot[side == index].sum(axis=0).tolist(), strict=True))
        for index, split in enumerate(SPLITS)
    }


def reasons_of(dropped: pa.Table) -> dict[str, int]:
    """Titles by reason, the most frequent first."""
    counted = Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(dropped["reason"]).to_pylist()})
    return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
