"""The dataset: what a crawl stored → cleaned, labelled, split into train, validation and test, in Parquet shards.

    datasets/<dataset_id>/<split>/00000.parquet   imdb_id, title, year, genres, image {bytes, path}
    datasets/<dataset_id>/dropped.parquet         imdb_id, reason: each title that is not in a split
    datasets/<dataset_id>/card.json               the funnel, genre counts, settings; written last

The id is a hash of all that went in, so the same crawl and settings give the same id and the same bytes, and
nothing is ever overwritten with something else. The shards open as they are with pandas and Hugging Face datasets.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cluster.errors import KeyNotFoundError, TrainingError
from cluster.store import Store
from crawler import images
from crawler.crawl import list_crawls, read_summary, read_titles
from crawler.ledger import read_ledger
from crawler.outcomes import Rejected
from crawler.pipelines import poster_key
from training.genres import vocabulary
from training.preprocessing import to_rgb

SPLITS = ("train", "validation", "test")
_SCHEMA_VERSION = 1
_POSTERS_A_SHARD = 512
_JPEG_QUALITY = 92
# A genre that is rarer than this has too few posters to learn from and to be measured on.
_MIN_POSTERS = 10
_MIN_POSTERS_SHARE = 0.01
_SHARD_SCHEMA = pa.schema(
    [
        pa.field("imdb_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        # The shape that Hugging Face datasets reads as an image.
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]), nullable=False),
    ]
)


class DatasetError(TrainingError):
    """A crawl that no dataset can be made of, or a dataset that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """All that shapes a dataset besides the crawl.

    min_posters: genres with fewer are left out; None: 1% of the labelled posters, and at least 10.
    """

    max_height_px: int = 512
    validation_share: float = 0.1
    test_share: float = 0.2
    min_posters: int | None = None
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if not 0 < self.validation_share + self.test_share < 1 or min(self.validation_share, self.test_share) <= 0:
            raise DatasetError(
                f"validation {self.validation_share} and test {self.test_share} must be above 0 and leave some to train"
            )
        if (self.min_posters is not None and self.min_posters < 1) or self.max_height_px < images.MIN_SIDE_PX:
            raise DatasetError(f"min posters must be at least 1, and the height at least {images.MIN_SIDE_PX} px")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a dataset is: the funnel from titles to splits, and what was dropped and why."""

    dataset_id: str
    crawl_id: str
    options: dict[str, Any]
    genres: list[str]
    funnel: dict[str, int]
    dropped: dict[str, int]
    posters: dict[str, int]
    shards: dict[str, list[str]]
    genre_counts: dict[str, dict[str, int]]
    schema_version: int = _SCHEMA_VERSION


@dataclass(slots=True)
class _Candidate:
    imdb_id: str
    sha256: str
    title: str | None
    year: int | None
    genres: list[str] = field(default_factory=list)


def prepare(
    store: Store,
    crawl_id: str | None,
    options: PrepareOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Card:
    """Make the dataset of a crawl, by default the newest; one that is there already is returned as it is.

    progress: called with posters done and posters in all. Raises DatasetError when nothing is left to learn from.
    """
    crawl_id = crawl_id or _newest_crawl(store)
    read_summary(store, crawl_id)
    titles, candidates = _candidates(store, crawl_id)
    dropped: dict[str, str] = dict.fromkeys(titles - {found.imdb_id for found in candidates}, "no poster")
    dropped |= {found.imdb_id: "no genre" for found in candidates if not found.genres}
    with_genre = sum(1 for found in candidates if found.genres)
    min_posters = options.min_posters or max(_MIN_POSTERS, round(_MIN_POSTERS_SHARE * with_genre))
    genres = vocabulary((found.genres for found in candidates), min_posters=min_posters)
    labelled = []
    for found in candidates:
        found.genres = [genre for genre in genres if genre in found.genres]
        if found.genres:
            labelled.append(found)
        else:
            dropped.setdefault(found.imdb_id, f"only genres of fewer than {min_posters} posters")
    if not labelled:
        raise DatasetError(
            f"crawl {crawl_id} has {len(candidates)} posters and none with a genre of at least "
            f"{min_posters} posters; crawl more titles or lower --min-posters"
        )
    dataset_id = _dataset_id(crawl_id, options, genres, labelled, dropped)
    if store.exists(_card_key(dataset_id)):
        return read_card(store, dataset_id)

    by_split: dict[str, list[_Candidate]] = {split: [] for split in SPLITS}
    for found in labelled:
        by_split[split_of(found.imdb_id, options)].append(found)
    posters: dict[str, int] = {}
    shards: dict[str, list[str]] = {}
    counts: dict[str, dict[str, int]] = {}
    done = 0
    for split, members in by_split.items():
        kept: Counter[str] = Counter()
        shards[split] = []
        for shard in _shards(store, members, options, dropped):
            key = f"datasets/{dataset_id}/{split}/{len(shards[split]):05}.parquet"
            store.put(key, _parquet(shard, _SHARD_SCHEMA))
            shards[split].append(key)
            kept.update(genre for row in shard for genre in row["genres"])
            done += len(shard)
            progress(done, len(labelled))
        posters[split] = sum(1 for found in members if found.imdb_id not in dropped)
        counts[split] = {genre: kept[genre] for genre in genres}
        if not posters[split]:
            raise DatasetError(f"no poster falls into {split}: {len(labelled)} are too few for these shares")
    rows = [{"imdb_id": imdb_id, "reason": reason} for imdb_id, reason in sorted(dropped.items())]
    schema = pa.schema([("imdb_id", pa.string()), ("reason", pa.string())])
    store.put(f"datasets/{dataset_id}/dropped.parquet", _parquet(rows, schema))
    card = Card(
        dataset_id=dataset_id,
        crawl_id=crawl_id,
        options=asdict(options),
        genres=list(genres),
        funnel={"titles": len(titles), "posters": len(candidates), "labelled": len(labelled), **posters},
        dropped=dict(Counter(dropped.values()).most_common()),
        posters=posters,
        shards=shards,
        genre_counts=counts,
    )
    store.put(_card_key(dataset_id), json.dumps(asdict(card), indent=2).encode(), content_type="application/json")
    return card


def split_of(imdb_id: str, options: PrepareOptions) -> str:
    """The split of a title, by a stable hash of its id: it never changes as the catalogue grows."""
    place = int.from_bytes(hashlib.sha256(f"onesheet split {imdb_id}".encode()).digest()[:8], "big") / 2**64
    if place < options.test_share:
        return "test"
    return "validation" if place < options.test_share + options.validation_share else "train"


def read_card(store: Store, dataset_id: str) -> Card:
    """The card of a dataset. Raises DatasetError where there is none."""
    try:
        return Card(**json.loads(store.get(_card_key(dataset_id))))
    except KeyNotFoundError as error:
        raise DatasetError(f"{store.url} has no dataset {dataset_id!r}; see `onesheet datasets`") from error


def list_datasets(store: Store) -> list[Card]:
    """The cards of all finished datasets, by id."""
    keys = [key for key in store.list("datasets/") if key.endswith("/card.json")]
    return [Card(**json.loads(store.get(key))) for key in keys]


def newest_dataset(store: Store) -> Card:
    """The dataset of the crawl that ended last. Raises DatasetError where no crawl has one."""
    cards = {card.crawl_id: card for card in list_datasets(store)}
    for crawl in list_crawls(store):
        if crawl["crawl_id"] in cards:
            return cards[crawl["crawl_id"]]
    raise DatasetError(f"{store.url} has no dataset; run `onesheet prepare` first")


def _newest_crawl(store: Store) -> str:
    crawls = [crawl for crawl in list_crawls(store) if crawl["stored"]]
    if not crawls:
        raise DatasetError(f"{store.url} has no crawl with posters; run `scrapy crawl posters -a catalog=PATH` first")
    return str(crawls[0]["crawl_id"])


def _candidates(store: Store, crawl_id: str) -> tuple[set[str], list[_Candidate]]:
    """All titles of a crawl, and those with a stored poster, by id; rows of one title are merged."""
    columns = ["imdb_id", "outcome", "sha256", "page_title", "page_year", "page_genres"]
    rows = read_ledger(store, crawl_id, columns).to_pylist()
    found = {
        row["imdb_id"]: _Candidate(
            row["imdb_id"], row["sha256"], row["page_title"], row["page_year"], row["page_genres"] or []
        )
        for row in rows
        if row["outcome"] == "stored"
    }
    titles = {row["imdb_id"] for row in rows}
    named: set[str] = set()
    for row in read_titles(store, crawl_id):
        titles.add(row["imdb_id"])
        candidate = found.get(row["imdb_id"])
        if candidate is None or not (row["genres"] or row["title"]):
            continue
        if row["genres"]:
            # The catalogue's genres go before the page's; a title's second row adds to its first.
            first = candidate.genres if candidate.imdb_id in named else []
            candidate.genres = list(dict.fromkeys([*first, *row["genres"]]))
            named.add(candidate.imdb_id)
        candidate.title = row["title"] or candidate.title
        candidate.year = row["year"] or candidate.year
    return titles, sorted(found.values(), key=lambda candidate: candidate.imdb_id)


def _shards(
    store: Store, members: Sequence[_Candidate], options: PrepareOptions, dropped: dict[str, str]
) -> Iterator[list[dict[str, Any]]]:
    """Rows of a split, a shard at a time; what turns out unusable goes to `dropped`."""

    def row(found: _Candidate) -> dict[str, Any] | None:
        try:
            data = store.get(poster_key(found.imdb_id))
        except KeyNotFoundError:
            dropped[found.imdb_id] = "poster missing"
            return None
        if hashlib.sha256(data).hexdigest() != found.sha256:
            dropped[found.imdb_id] = "poster changed since the crawl"
            return None
        image = images.decode(data, max_pixels=options.max_pixels)
        if isinstance(image, Rejected):
            dropped[found.imdb_id] = f"poster {image.reason}"
            return None
        return {
            "imdb_id": found.imdb_id,
            "title": found.title,
            "year": found.year,
            "genres": found.genres,
            "image": {"bytes": _stored_jpeg(image, data, options.max_height_px), "path": f"{found.imdb_id}.jpg"},
        }

    waiting = iter(members)
    # Pillow lets go of Python's lock while it decodes, so threads use all cores.
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(waiting, _POSTERS_A_SHARD)):
            rows = [row for row in pool.map(row, batch) if row is not None]
            if rows:
                yield rows


def _stored_jpeg(image: Image.Image, data: bytes, max_height_px: int) -> bytes:
    """The bytes as they are where they are a plain JPEG that is small enough, else made into one."""
    if image.format == "JPEG" and image.mode in ("RGB", "L") and image.height <= max_height_px:
        return data
    rgb = to_rgb(image)
    if rgb.height > max_height_px:
        width = max(1, round(rgb.width * max_height_px / rgb.height))
        rgb = rgb.resize((width, max_height_px), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    rgb.save(sink, "JPEG", quality=_JPEG_QUALITY)
    return sink.getvalue()


def _dataset_id(
    crawl_id: str,
    options: PrepareOptions,
    genres: Sequence[str],
    labelled: Sequence[_Candidate],
    dropped: dict[str, str],
) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps([_SCHEMA_VERSION, crawl_id, asdict(options), list(genres)]).encode())
    for found in labelled:
        digest.update(json.dumps([found.imdb_id, found.sha256, found.title, found.year, found.genres]).encode())
    digest.update(json.dumps(sorted(dropped.items())).encode())
    return f"ds-{digest.hexdigest()[:12]}"


def _parquet(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    # Posters are compressed already.
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="none")
    return sink.getvalue()


def _card_key(dataset_id: str) -> str:
    return f"datasets/{dataset_id}/card.json"
