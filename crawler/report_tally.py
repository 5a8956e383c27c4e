"""Pure: what a ledger says in sum, counted piece by piece: its millions of rows are never in memory at once."""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyroaring import BitMap, BitMap64

from crawler.histogram import Histogram
from crawler.ledger_rows import passing_reasons
from crawler.outcomes import Reason
from crawler.report_pace import Clock

COLUMNS = (
    "imdb_id", "outcome", "reason", "detail", "source", "http_status", "url", "sha256", "width_px", "height_px",
    "bytes", "format", "attempts", "fetched_at", "download_ms",
)  # fmt: skip
COPY_COLUMNS = ("imdb_id", "outcome", "sha256", "width_px", "height_px", "bytes")

EXAMPLES = 5
_MOST_HOSTS = 5_000
OTHER_HOSTS = "(other hosts)"
_HOST = r"^(?i:https?)://(?:[^/?#@]*@)?(?P<host>[^/?#@]+)"
_KNOWN = frozenset(Reason)


@dataclass(slots=True)
class HostTally:
    """requests: those that the ledger knows, for the last address of each title; failed: those without an answer."""

    stored: int = 0
    rejected: int = 0
    requests: int = 0
    failed: int = 0
    # A step of 3%: there is one of these for each of thousands of hosts.
    download_ms: Histogram = field(default_factory=lambda: Histogram(bits=5))


@dataclass(slots=True)
class Copies:
    """Titles that have the very same bytes for a poster."""

    sha256: str
    bytes: int
    width_px: int
    height_px: int
    titles: int = 0
    examples: list[str] = field(default_factory=list)


class Tally:
    """Counts the rows of the titles that belong to the crawl.

    titles: `number_of` each. shown: makes a text from outside fit to be shown.
    """

    def __init__(self, titles: BitMap64, shown: Callable[[str], str]) -> None:
        self._titles, self._shown = titles, shown
        self.seen = BitMap64()
        self.stored = self.rejected = self.strangers = 0
        self.reasons: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.bytes, self.width_px, self.height_px = Histogram(), Histogram(), Histogram()
        self.total_bytes = 0
        self.clock = Clock()
        self.last_ms: int | None = None
        self.hosts: dict[str, HostTally] = {}
        self.examples: dict[str, list[dict[str, Any]]] = {}
        self._once, self._twice = BitMap(), BitMap()

    def add(self, rows: pa.Table) -> None:
        """Count a piece of the ledger; `download_ms` may be missing."""
        rows = self._own(rows)
        if not rows.num_rows:
            return
        is_stored = _numpy(pc.equal(rows["outcome"], "stored"))
        is_passing = ~is_stored & _numpy(pc.is_in(rows["reason"], value_set=passing_reasons()))
        stored, rejected = rows.filter(pa.array(is_stored)), rows.filter(pa.array(~is_stored))
        self.stored += stored.num_rows
        self.rejected += rejected.num_rows
        self.reasons.update(_counts(rejected["reason"].fill_null("unknown")))
        self.sources.update(_counts(stored["source"]))
        self.formats.update(_counts(stored["format"].fill_null("unknown")))
        for name, histogram in (("bytes", self.bytes), ("width_px", self.width_px), ("height_px", self.height_px)):
            histogram.add(_numpy(stored[name].drop_null()).astype(np.int64))
        attempts = np.maximum(_numpy(rows["attempts"]).astype(np.int64), 0)
        # The last attempt had an answer, unless the title was given up for a passing reason.
        failed = np.where(is_passing, attempts, np.maximum(attempts - 1, 0))
        sizes = np.where(is_stored, _numpy(rows["bytes"].fill_null(0)), 0)
        self.total_bytes += int(sizes.sum())
        times_ms = _numpy(rows["fetched_at"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()))
        self.last_ms = max(int(times_ms.max()), self.last_ms or 0)
        events = np.stack([is_stored, ~is_stored & ~is_passing, is_passing, sizes, attempts, failed], axis=1)
        self.clock.add(times_ms // 1000, events.astype(np.int64))
        self._add_hosts(rows, is_stored, attempts, failed)
        self._add_digests(stored["sha256"].drop_null())
        self._add_examples(rejected)

    def _own(self, rows: pa.Table) -> pa.Table:
        numbers = _numpy(pc.utf8_slice_codeunits(rows["imdb_id"], 2).cast(pa.int64())).astype(np.uint64)
        found = BitMap64(array("Q", numbers.tobytes()))
        if strangers := found - self._titles:
            self.strangers += len(strangers)
            rows = rows.filter(pa.array([number not in strangers for number in numbers.tolist()], pa.bool_()))
        self.seen |= found & self._titles
        return rows

    def _add_hosts(self, rows: pa.Table, is_stored: NDArray[Any], attempts: NDArray[Any], failed: NDArray[Any]) -> None:
        hosts = pc.struct_field(pc.extract_regex(rows["url"].combine_chunks(), pattern=_HOST), "host")
        codes = pc.dictionary_encode(pc.utf8_lower(hosts))
        names = codes.dictionary.to_pylist()
        places = _numpy(codes.indices.fill_null(len(names)))
        sums = [np.bincount(places, weights, len(names) + 1) for weights in (is_stored, ~is_stored, attempts, failed)]
        waits = rows["download_ms"] if "download_ms" in rows.column_names else pa.nulls(rows.num_rows, pa.int32())
        waits_ms, is_timed = _numpy(waits.fill_null(0)).astype(np.int64), _numpy(waits.is_valid())
        order = np.argsort(places, kind="stable")
        starts = np.searchsorted(places[order], np.arange(len(names) + 1))
        for code, name in enumerate(names):
            shown = self._shown(name)
            host = self.hosts.get(shown)
            if host is None:
                host = self.hosts.setdefault(shown if len(self.hosts) < _MOST_HOSTS else OTHER_HOSTS, HostTally())
            host.stored += int(sums[0][code])
            host.rejected += int(sums[1][code])
            host.requests += int(sums[2][code])
            host.failed += int(sums[3][code])
            own = order[starts[code] : starts[code + 1]]
            host.download_ms.add(waits_ms[own][is_timed[own]])

    def _add_digests(self, digests: pa.ChunkedArray) -> None:
        """Note 32 bits of each: a set of those is small, and what seems to come twice is counted in a second pass."""
        values, counts = np.unique(_short(digests), return_counts=True)
        found = BitMap(array("I", values.tobytes()))
        self._twice |= BitMap(array("I", values[counts > 1].tobytes())) | (found & self._once)
        self._once |= found

    def _add_examples(self, rejected: pa.Table) -> None:
        for reason in _counts(rejected["reason"].fill_null("unknown")):
            known = self.examples.setdefault(reason, [])
            if len(known) < EXAMPLES:
                first = rejected.filter(pc.equal(rejected["reason"].fill_null("unknown"), reason)).slice(0, EXAMPLES)
                picked = first.select(["imdb_id", "source", "http_status", "url", "detail"]).to_pylist()
                known += [self._example(row) for row in picked[: EXAMPLES - len(known)]]

    def _example(self, row: dict[str, Any]) -> dict[str, Any]:
        row["url"] = _without_secrets(row["url"] or "")
        texts = {name: self._shown(row[name]) for name in ("imdb_id", "source", "url", "detail") if row[name]}
        return {"imdb_id": "", "source": "", "url": None, "detail": ""} | texts | {"http_status": row["http_status"]}

    def suspects(self, at_once: int) -> Iterator[BitMap]:
        """The digests, cut short, that seem to come twice: in parts that are small enough to be counted in memory."""
        for start in range(0, len(self._twice), at_once):
            yield self._twice[start : start + at_once]


def count_copies(rows: pa.Table, suspects: BitMap, titles: BitMap64, found: dict[str, Copies]) -> None:
    """Add a piece of the ledger to the posters of these digests in `found`, by their whole digest."""
    rows = rows.filter(pc.and_(pc.equal(rows["outcome"], "stored"), pc.is_valid(rows["sha256"])))
    if not rows.num_rows:
        return
    mine = np.isin(_short(rows["sha256"]), np.array(suspects.to_array(), np.uint32))
    for row in rows.filter(pa.array(mine)).to_pylist():
        if int(row["imdb_id"][2:]) not in titles:
            continue
        digest, sizes = row["sha256"], (row["bytes"] or 0, row["width_px"] or 0, row["height_px"] or 0)
        copies = found.setdefault(digest, Copies(digest, *sizes))
        copies.titles += 1
        if len(copies.examples) < EXAMPLES:
            copies.examples.append(row["imdb_id"])


def is_passing(reason: str) -> bool:
    """Whether a rerun tries it again; a reason of another version's counts as lasting."""
    return reason in _KNOWN and Reason(reason).is_passing


_SECRET_PARTS = (
    (re.compile(r"(://)[^/\s?#@]*@"), r"\1"),  # user:password@
    (re.compile(r"(://[^\s?#\"'<>]*)[?#][^\s\"'<>]*"), r"\1?…"),  # signatures and keys stand in a query
    (re.compile(r"([?&][\w.~%-]{1,64}=)[^\s&\"'<>]+"), r"\1…"),  # also of what is hardly an address
)
_USER = re.compile(r"^([^/?#]*://)[^/?#]*@")


def make_shown(secrets: list[str], longest: int = 400) -> Callable[[str], str]:
    """What makes a text from outside fit to be shown: without secrets, queries of URLs and control characters."""

    def shown(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "…")
        for pattern, kept in _SECRET_PARTS:
            text = pattern.sub(kept, text)
        text = "".join(letter if letter.isprintable() else "�" for letter in text[: longest + 1])
        return text if len(text) <= longest else text[:longest] + "…"

    return shown


def _without_secrets(url: str) -> str:
    """An address, whatever letters it may have, without its user and its query."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    return _USER.sub(r"\1", bare) + ("?…" if len(bare) < len(url) else "")


def _numpy(column: Any) -> NDArray[Any]:
    return column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)


def _short(digests: pa.ChunkedArray) -> NDArray[np.uint32]:
    return np.fromiter(map(zlib.crc32, digests.cast(pa.binary()).to_pylist()), np.uint32, len(digests))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}
