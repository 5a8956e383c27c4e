"""What a catalogue holds, counted in one pass and in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap64

from crawler.catalogs import Catalog, Reading, RejectedRow
from crawler.titles import Title, number_of

SHOWN_REJECTED = 20
_ROWS_A_STEP = 2000


@dataclass(slots=True)
class CatalogReport:
    """Counts over a catalogue; all but rows, duplicates and rejected_rows are of distinct titles, by their first row.

    file_rows = rows + the rows left out; rows = titles + duplicates + rejected_rows.
    """

    name: str
    form: str
    is_gzip: bool
    file_rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    rejected_rows: int = 0
    duplicates: int = 0
    titles: int = 0
    with_poster_url: int = 0
    without_name: int = 0
    without_genre: int = 0
    without_year: int = 0
    first_year: int | None = None
    last_year: int | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    genres: Counter[str] = field(default_factory=Counter)
    latin_lines: int = 0
    repaired_names: int = 0
    damage: str | None = None
    first_rejected: list[RejectedRow] = field(default_factory=list)

    def add(self, title: Title) -> None:
        """Count a distinct title."""
        self.titles += 1
        self.with_poster_url += title.poster_url is not None
        self.without_name += title.title is None
        self.without_genre += not title.genres
        self.kinds[title.kind.value if title.kind else "unknown"] += 1
        for genre in title.genres:
            self.genres[genre] += 1
        if (year := title.year) is None:
            self.without_year += 1
        else:
            self.first_year = year if self.first_year is None else min(self.first_year, year)
            self.last_year = year if self.last_year is None else max(self.last_year, year)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; kinds and genres the most frequent first."""
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "kinds": dict(self.kinds.most_common()),
            "genres": dict(self.genres.most_common()),
            "first_rejected": [{"line": row.line, "detail": row.detail} for row in self.first_rejected],
        }


def report_on(catalog: Catalog, on_progress: Callable[[int], None] = lambda bytes_read: None) -> CatalogReport:
    """Read a catalogue whole. `on_progress` is told the position in the file every few thousand rows."""
    report = CatalogReport(catalog.name, str(catalog.form), catalog.is_gzip)
    reading, seen = Reading(), BitMap64()
    for row in catalog.rows(reading):
        report.rows += 1
        if isinstance(row, RejectedRow):
            report.rejected_rows += 1
            if len(report.first_rejected) < SHOWN_REJECTED:
                report.first_rejected.append(row)
        elif (number := number_of(row.imdb_id)) in seen:
            report.duplicates += 1
        else:
            seen.add(number)
            report.add(row)
        if report.rows % _ROWS_A_STEP == 0:
            on_progress(reading.bytes_read)
    report.left_out = dict(reading.left_out.most_common())
    report.file_rows = report.rows + sum(report.left_out.values())
    report.latin_lines, report.repaired_names, report.damage = (
        reading.latin_lines,
        reading.repaired_names,
        reading.damage,
    )
    return report
