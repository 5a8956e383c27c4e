"""The crawler's commands: `onesheet crawl`, `onesheet crawls`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cluster.console import JsonFlag, finish
from cluster.errors import CrawlerError
from cluster.settings import load_settings
from cluster.store import open_store


def crawl(
    catalog: Annotated[Path, typer.Argument(help="MovieGenre.csv or the one-hot CSV.", show_default=False)],
    store: Annotated[str | None, typer.Option(help="Instead of ONESHEET_STORE.", show_default=False)] = None,
    crawl_id: Annotated[
        str | None, typer.Option(help="A name of your own, to continue a catalogue that grows.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Harvest the posters of a catalogue: [bold]scrapy crawl posters[/] with a progress bar and a summary.

    Run it again to go on where it ended. Exit code 0 once every title is stored or rejected.

    \b
    Examples:
      onesheet crawl MovieGenre.csv
      onesheet crawl train.csv --store s3://bucket/posters
      scrapy crawl posters -a catalog=MovieGenre.csv -s DOWNLOAD_DELAY=1
    """
    from crawler.run import run_crawl  # noqa: PLC0415  Scrapy installs its reactor at import

    summary = run_crawl(catalog, store=store, crawl_id=crawl_id)
    finish(summary, as_json=as_json)
    if not summary["finished"]:
        raise CrawlerError(
            f"the crawl ended early ({summary['finish_reason']}) with {summary['open']} titles open; "
            "run the same command again to go on"
        )


def crawls(
    store: Annotated[str | None, typer.Option(help="Instead of ONESHEET_STORE.", show_default=False)] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the crawls of the store, the newest first.

    \b
    Examples:
      onesheet crawls
      onesheet crawls --store s3://bucket/posters --json
    """
    from crawler.crawl import list_crawls  # noqa: PLC0415

    found = list_crawls(open_store(load_settings(store=store).store))
    table = Table("crawl", "titles", "stored", "rejected", "open", "MB", "ended")
    for row in found:
        numbers = [str(row[name]) for name in ("titles", "stored", "rejected", "open")]
        table.add_row(row["crawl_id"], *numbers, f"{row['bytes'] / 1e6:.1f}", row["finished_at"])
    finish({"crawls": found}, as_json=as_json, table=table)
