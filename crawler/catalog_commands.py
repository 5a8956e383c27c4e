"""`onesheet catalog`: look into a catalogue before crawling it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cluster.console import JsonFlag, console, finish
from crawler.catalog_layout import Form

if TYPE_CHECKING:
    from crawler.catalog_report import CatalogReport

catalog_app = typer.Typer(
    name="catalog",
    help="Look into a catalogue before it is crawled.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_FORMS = {
    Form.MOVIE_GENRE: "Kaggle's MovieGenre.csv",
    Form.ONE_HOT: "a one-hot CSV",
    Form.IMDB_BASICS: "IMDb's title.basics",
    Form.IDS: "a list of ids or URLs",
    Form.PARQUET: "onesheet's Parquet",
}
_SHOWN_GENRES = 40
_BAR_CELLS = 30


@catalog_app.callback()
def _catalog() -> None:
    """Typer makes the only command of an app the app itself, unless there is a callback."""


@catalog_app.command("inspect")
def inspect(
    path: Annotated[
        str,
        typer.Argument(help="A file, s3://bucket/key, or - for standard input.", show_default=False, metavar="PATH"),
    ],
    form: Annotated[
        Form | None, typer.Option("--format", help="Its form, where that is not recognised.", show_default=False)
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            help="Only these of film,series,episode,game, where the catalogue tells the kind.",
            show_default="film,series of title.basics, else all",
        ),
    ] = None,
    adult: Annotated[bool, typer.Option("--adult", help="With the titles that title.basics marks as adult.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say what a catalogue is and holds: titles, posters, years, genres, and the rows that a crawl would reject.

    It is read once, in constant memory, plain or gzipped; what the file is called does not matter.

    \b
    Examples:
      onesheet catalog inspect MovieGenre.csv
      onesheet catalog inspect title.basics.tsv.gz --kinds film
      onesheet catalog inspect s3://bucket/ids.txt.gz --json
      grep -v '^#' ids.txt | onesheet catalog inspect - --format ids
    """
    from crawler.catalog_report import report_on  # noqa: PLC0415  help stays quick
    from crawler.catalogs import kinds_in, open_catalog  # noqa: PLC0415

    wanted = kinds_in(kinds) if kinds is not None else None
    with open_catalog(path, form=form, kinds=wanted, adult=adult) as catalog, _progress() as progress:
        task = progress.add_task(escape(f"reading {catalog.name}"), total=catalog.size_bytes)
        report = report_on(catalog, lambda bytes_read: progress.update(task, completed=bytes_read))
    finish(report.to_dict(), as_json=as_json, table=shown(report))


def _progress() -> Progress:
    """A bar while somebody watches; it leaves no trace."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def shown(report: CatalogReport) -> Group:
    """The report for people."""
    remarks = ["gzipped"] if report.is_gzip else []
    if report.latin_lines:
        remarks.append(f"{_count(report.latin_lines, 'line')} in ISO-8859-1, the others in UTF-8")
    if report.repaired_names:
        remarks.append(f"{_count(report.repaired_names, 'mangled name')} repaired")
    parts: list[Any] = [
        Text.assemble((report.name, "bold"), f" is {_FORMS[Form(report.form)]}", f" ({report.form})"),
        *([Text("; ".join(remarks), style="dim")] if remarks else []),
        *([Text(report.damage, style="bold red")] if report.damage else []),
        Text(),
        _counts(report),
    ]
    if report.genres:
        parts += [Text(), _genres(report)]
    if report.rejected_rows:
        parts += [Text(), _rejected(report)]
    return Group(*parts)


def _counts(report: CatalogReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")

    def line(name: str, number: int, note: str = "", style: str = "") -> None:
        table.add_row(Text(name, style=style), Text(f"{number:,}", style=style), Text(note))

    titles = report.titles
    line("rows", report.file_rows)
    if report.left_out:
        left_out = ", ".join(f"{number:,} {what}" for what, number in report.left_out.items())
        line("- left out", sum(report.left_out.values()), left_out)
    line("- rejected", report.rejected_rows, *(("see below", "red") if report.rejected_rows else ()))
    line("- duplicates", report.duplicates)
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in report.kinds.most_common())
    line("= titles", titles, "" if kinds.endswith("unknown") and len(report.kinds) == 1 else kinds, "bold")
    line("  with a poster URL", report.with_poster_url, _share(report.with_poster_url, titles))
    line("  with a name", titles - report.without_name, _share(titles - report.without_name, titles))
    years = f", {report.first_year} to {report.last_year}" if report.first_year is not None else ""
    line("  with a year", titles - report.without_year, _share(titles - report.without_year, titles) + years)
    line("  with a genre", titles - report.without_genre, _share(titles - report.without_genre, titles))
    return table


def _genres(report: CatalogReport) -> Table:
    table = Table("genre", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.columns[0].no_wrap = True
    table.add_column("titles", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    found = report.genres.most_common(_SHOWN_GENRES)
    for genre, number in found:
        bar = "█" * max(1, round(_BAR_CELLS * number / found[0][1]))
        table.add_row(Text(genre[:40]), f"{number:,}", _share(number, report.titles), Text(bar, style="cyan"))
    if len(report.genres) > len(found):
        table.add_row(Text(f"and {len(report.genres) - len(found):,} more", style="dim"))
    return table


def _rejected(report: CatalogReport) -> Table:
    table = Table("row" if report.form == Form.PARQUET else "line", box=None, pad_edge=False, header_style="dim")
    table.columns[0].justify = "right"
    table.add_column(f"why it would be rejected ({report.rejected_rows:,} in all)")
    for row in report.first_rejected:
        table.add_row(str(row.line), Text(row.detail))
    if report.rejected_rows > len(report.first_rejected):
        table.add_row("…", Text(f"and {report.rejected_rows - len(report.first_rejected):,} more", style="dim"))
    return table


def _share(number: int, of: int) -> str:
    return f"{number / of:.1%}" if of else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
