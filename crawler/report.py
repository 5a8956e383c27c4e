"""Pure: what became of each title of a crawl, in numbers: the funnel, the pace, the hosts, the failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyroaring import BitMap64

from cluster.errors import CrawlerError
from crawler.histogram import Quantiles
from crawler.report_pace import Pace
from crawler.report_tally import COLUMNS, COPY_COLUMNS, EXAMPLES, OTHER_HOSTS, Copies, Tally, count_copies, is_passing

# The ledger, read from its start, with these columns.
Pieces = Callable[[Sequence[str]], Iterable[pa.Table]]

# Digests that seem to come twice and are counted at once; more of them take further passes, not more memory.
_SUSPECTS = 300_000
_TOP_COPIES = 10
_TOP_SIZES = 5
_SHOWN_HOSTS = 100
_BARS = 40


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """The titles that were rejected for a reason, and the first few of them."""

    reason: str
    is_passing: bool
    titles: int
    examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Host:
    """requests: those that the ledger knows, for the last address of each title. The medians are None where untimed."""

    name: str
    requests: int
    failed: int
    stored: int
    rejected: int
    timed: int
    p50_ms: int | None
    p95_ms: int | None

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed."""
        return self.failed / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Posters whose very bytes several titles have.

    groups: different ones; titles: that have them; extra_bytes: what would be stored less, were each kept once; top:
    those of the most titles.
    """

    groups: int
    titles: int
    extra_bytes: int
    top: tuple[Copies, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlReport:
    """rows = rejected_rows + duplicate_rows + titles, and titles = stored + rejected + open.

    finish_reason: why its last start ended; None where it still runs, or was killed. strangers: rows of titles that
    the catalogue no longer has, which count nowhere else.
    """

    crawl_id: str
    catalog: str
    form: str
    made_at: datetime
    finish_reason: str | None
    last_at: datetime | None
    rows: int
    rejected_rows: int
    duplicate_rows: int
    first_rejected: tuple[dict[str, Any], ...]
    titles: int
    stored: int
    rejected: int
    open: int
    open_examples: tuple[str, ...]
    strangers: int
    reasons: tuple[ReasonCount, ...]
    sources: dict[str, int]
    formats: dict[str, int]
    total_bytes: int
    bytes: Quantiles | None
    bytes_shape: tuple[tuple[int, int, int], ...]
    width_px: Quantiles | None
    height_px: Quantiles | None
    heights: tuple[tuple[int, int], ...]
    duplicates: Duplicates
    pace: Pace
    hosts: tuple[Host, ...]

    @property
    def lasting(self) -> int:
        """Titles rejected for a reason that would be the same tomorrow."""
        return sum(reason.titles for reason in self.reasons if not reason.is_passing)

    @property
    def passing(self) -> int:
        """Titles rejected for a reason that a rerun may overcome."""
        return sum(reason.titles for reason in self.reasons if reason.is_passing)

    @property
    def requests(self) -> int:
        """Sent, as far as the ledger knows: for the last address of each title."""
        return sum(one.requests for one in self.pace.bins)

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed; None where none was sent."""
        return sum(one.failed for one in self.pace.bins) / self.requests if self.requests else None

    @property
    def images_per_s(self) -> float:
        """Posters stored in a second at work."""
        return self.stored / self.pace.active_s if self.pace.active_s else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes stored in a second at work."""
        return self.total_bytes / self.pace.active_s if self.pace.active_s else 0.0

    @property
    def slow_hosts(self) -> tuple[Host, ...]:
        """The hosts whose answers were timed, the slowest first."""
        timed = (host for host in self.hosts if host.p95_ms is not None)
        return tuple(sorted(timed, key=lambda host: (-(host.p95_ms or 0), -(host.p50_ms or 0), host.name)))

    @property
    def rows_sentence(self) -> str:
        """How the catalogue's rows sum up."""
        parts = [(self.duplicate_rows, "duplicates"), (self.rejected_rows, "malformed")]
        return " + ".join([f"{self.rows:,} rows = {self.titles:,} titles", *(f"{n:,} {name}" for n, name in parts)])

    @property
    def sentence(self) -> str:
        """How the titles sum up."""
        return f"{self.titles:,} titles = {self.stored:,} stored + {self.rejected:,} rejected + {self.open:,} open"

    @property
    def state(self) -> str:
        """How far it is, in a few words."""
        if not self.open and not self.passing:
            return "complete: every title has its lasting outcome"
        if self.finish_reason is None:
            return "not ended: it is at work, or was stopped in the middle"
        if not self.open:
            return "ended: every title has an outcome, and a rerun tries the passing ones again"
        return f"ended early ({self.finish_reason}): a rerun goes on with the open titles"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        found = asdict(self)
        for name in (
            "lasting",
            "passing",
            "requests",
            "error_rate",
            "images_per_s",
            "bytes_per_s",
            "sentence",
            "state",
        ):
            found[name] = getattr(self, name)
        found["hosts"] = [asdict(host) | {"error_rate": host.error_rate} for host in self.hosts]
        found["slow_hosts"] = [host.name for host in self.slow_hosts]
        found["bytes_shape"] = [{"from": low, "to": high, "posters": n} for low, high, n in self.bytes_shape]
        found["heights"] = [{"height_px": height, "posters": n} for height, n in self.heights]
        for place in (found, *found["pace"]["bins"]):
            place |= {name: value.isoformat() for name, value in place.items() if isinstance(value, datetime)}
        return found


def make_report(
    pieces: Pieces,
    *,
    crawl_id: str,
    card: Any,
    titles: BitMap64,
    summary: dict[str, Any] | None,
    shown: Callable[[str], str],
    made_at: datetime,
) -> CrawlReport:
    """Read a ledger, in constant memory, and say what it says.

    pieces: the ledger's tables, one row a title (`ledger.iter_ledger`), with the columns asked for; called again
    where posters have the same bytes. card: a `crawl.CatalogCard`; titles: the catalogue's, by their numbers;
    summary: of the last start that ended; shown: makes a text from outside fit to be shown. Raises CrawlerError where
    the sums do not hold.
    """
    tally = Tally(titles, shown)
    for piece in pieces(COLUMNS):
        tally.add(piece)
    waiting = titles - tally.seen
    last_at = datetime.fromtimestamp(tally.last_ms / 1000, UTC) if tally.last_ms is not None else None
    report = CrawlReport(
        crawl_id=crawl_id,
        catalog=shown(card.name),
        form=str(card.form),
        made_at=made_at,
        finish_reason=_finish_reason(summary, last_at, shown),
        last_at=last_at,
        rows=card.rows,
        rejected_rows=card.rejected_rows,
        duplicate_rows=card.rows - card.rejected_rows - card.titles,
        first_rejected=tuple({"line": row["line"], "detail": shown(row["detail"])} for row in card.first_rejected),
        titles=card.titles,
        stored=tally.stored,
        rejected=tally.rejected,
        open=len(waiting),
        open_examples=tuple(f"tt{number:07d}" for number in waiting[:EXAMPLES]),
        strangers=tally.strangers,
        reasons=tuple(
            ReasonCount(shown(reason), is_passing(reason), count, tuple(tally.examples[reason]))
            for reason, count in tally.reasons.most_common()
        ),
        sources={shown(name): count for name, count in tally.sources.most_common()},
        formats={shown(name): count for name, count in tally.formats.most_common()},
        total_bytes=tally.total_bytes,
        bytes=tally.bytes.quantiles(),
        bytes_shape=tuple(tally.bytes.shape(_BARS)),
        width_px=tally.width_px.quantiles(),
        height_px=tally.height_px.quantiles(),
        heights=tuple(tally.height_px.most_frequent(_TOP_SIZES)),
        duplicates=_duplicates(tally, pieces, titles),
        pace=tally.clock.pace(),
        hosts=_hosts(tally),
    )
    _check_sums(report)
    return report


def _check_sums(report: CrawlReport) -> None:
    """Each side was counted for itself: the catalogue when it was read, outcomes by row, open titles by their ids."""
    if report.titles != report.stored + report.rejected + report.open or report.duplicate_rows < 0:
        raise CrawlerError(
            f"crawl {report.crawl_id}: the sums do not hold ({report.rows_sentence}; {report.sentence}); was it "
            "started with another catalogue just now? Ask for the report again, and if this stays, report it as a bug"
        )


def _finish_reason(summary: dict[str, Any] | None, last_at: datetime | None, shown: Callable[[str], str]) -> str | None:
    """Of the last start, if it ended: a row that is newer than the summary is of a later start."""
    if summary is None:
        return None
    ended_at = datetime.fromisoformat(summary["finished_at"])
    # The summary is to the second, cut off.
    is_last = last_at is None or last_at.timestamp() < ended_at.timestamp() + 1
    return shown(str(summary["finish_reason"])) if is_last else None


def _duplicates(tally: Tally, pieces: Pieces, titles: BitMap64) -> Duplicates:
    groups = members = extra_bytes = 0
    top: list[Copies] = []
    for suspects in tally.suspects(_SUSPECTS):
        found: dict[str, Copies] = {}
        for piece in pieces(COPY_COLUMNS):
            count_copies(piece, suspects, titles, found)
        several = [copies for copies in found.values() if copies.titles > 1]
        groups += len(several)
        members += sum(copies.titles for copies in several)
        extra_bytes += sum((copies.titles - 1) * copies.bytes for copies in several)
        top = sorted([*top, *several], key=lambda copies: (-copies.titles, copies.sha256))[:_TOP_COPIES]
    return Duplicates(groups, members, extra_bytes, tuple(top))


def _hosts(tally: Tally) -> tuple[Host, ...]:
    found = []
    for name, host in tally.hosts.items():
        timed = host.download_ms.count
        p50, p95 = (host.download_ms.quantile(share) if timed else None for share in (0.5, 0.95))
        found.append(Host(name, host.requests, host.failed, host.stored, host.rejected, timed, p50, p95))
    found.sort(key=lambda host: (host.name == OTHER_HOSTS, -host.requests, host.name))
    return tuple(found[:_SHOWN_HOSTS])
