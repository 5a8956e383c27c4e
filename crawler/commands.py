"""The crawler's commands: `onesheet crawl`, `onesheet crawl report`, `onesheet crawls`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import CrawlerError
from cluster.resources import CpusPerWorkerOption, WorkersOption
from cluster.settings import load_settings
from cluster.store import open_store


class _CrawlGroup(TyperGroup):
    """`onesheet crawl PATH` is `onesheet crawl run PATH`."""

    default_command = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


crawl_app = typer.Typer(
    cls=_CrawlGroup, no_args_is_help=True, help="Harvest the posters of a catalogue, and report on it."
)


@crawl_app.command("run")
def crawl(
    catalog: Annotated[
        str | None,
        typer.Argument(
            help="A catalogue: a path, s3://…, or - for standard input; plain or gzipped.", show_default=False
        ),
    ] = None,
    store: StoreOption = None,
    crawl_id: Annotated[
        str | None,
        typer.Option(
            help="A name of your own, to continue a catalogue that grows; alone, to go on without the catalogue.",
            show_default=False,
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="In this order: listed, tmdb, omdb, page, images, package.module:Class.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Take <imdb_id>.jpg from this folder, without a network.", show_default=False)
    ] = None,
    height: Annotated[int, typer.Option(help="Posters of this many pixels; 0 takes the listed size.")] = 600,
    form: Annotated[
        str | None,
        typer.Option("--format", help="The catalogue's form, where it is not recognised.", show_default=False),
    ] = None,
    kinds: Annotated[
        str | None, typer.Option(help="Of IMDb's own list only these: film,series,episode,game.", show_default=False)
    ] = None,
    adult: Annotated[bool, typer.Option("--adult", help="Of IMDb's own list also the adult titles.")] = False,
    refresh: Annotated[
        float | None, typer.Option(help="Ask again for what is older than this many days.", show_default=False)
    ] = None,
    max_titles: Annotated[int | None, typer.Option(help="End after this many titles.", show_default=False)] = None,
    max_bytes: Annotated[
        str | None, typer.Option(help="End after this much is stored: 5GB.", show_default=False)
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="End after this time.", show_default=False)] = None,
    workers: WorkersOption = 1,
    cpus_per_worker: CpusPerWorkerOption = None,
    shards: Annotated[int | None, typer.Option(min=1, hidden=True, help="The former name of --workers.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Harvest the posters of a catalogue: [bold]scrapy crawl posters[/] with a progress bar and a summary.

    Run it again to go on where it ended: nothing is fetched twice. Exit code 0 once every title is stored or
    rejected, or the budget is used up. [bold]onesheet crawl report[/] tells what became of each title.

    \b
    Examples:
      onesheet crawl MovieGenre.csv
      onesheet crawl title.basics.tsv.gz --kinds film --sources tmdb --store s3://bucket/posters
      onesheet crawl train.csv --images posters/
      onesheet crawl MovieGenre.csv --refresh 30 --max-minutes 60
      onesheet crawl MovieGenre.csv --workers 4
      onesheet crawl report
    """
    from crawler.options import read_options  # noqa: PLC0415  help stays quick
    from crawler.plan import make_plan  # noqa: PLC0415

    options = read_options(
        catalog=catalog,
        store=store,
        crawl_id=crawl_id,
        sources=sources,
        images=images,
        height=height,
        format=form,
        kinds=kinds,
        adult=adult,
        refresh=refresh,
        max_titles=max_titles,
        max_bytes=max_bytes,
        max_minutes=max_minutes,
    )
    plan = make_plan(options)
    if (shards or workers) > 1:
        from crawler.fleet import run_fleet  # noqa: PLC0415

        summary = run_fleet(plan, shards or workers, cpus_per_worker=cpus_per_worker or 1)
    else:
        from crawler.decoder import Decoders  # noqa: PLC0415
        from crawler.settings import DECODERS  # noqa: PLC0415

        # They import what they need while this process imports Scrapy.
        decoders = Decoders(DECODERS, max_pixels=plan.settings.max_poster_pixels)
        from crawler.run import run_crawl  # noqa: PLC0415  Scrapy installs its reactor at import

        summary = run_crawl(plan, decoders=decoders).summary
    finish(summary, as_json=as_json)
    if not summary["finished"] and summary["finish_reason"] != "budget":
        raise CrawlerError(
            f"the crawl ended early ({summary['finish_reason']}) with {summary['open']} titles open; "
            "run the same command again to go on"
        )
    if not as_json:
        say(f"what became of each title: onesheet crawl report {summary['crawl_id']}")


@crawl_app.command("report")
def report(
    crawl: Annotated[
        str | None, typer.Argument(help="A crawl's id; by default the newest.", show_default=False)
    ] = None,
    store: StoreOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the page and the picture also into this folder.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell what became of each title: a table here, and a page and a picture beside the crawl in the store.

    Also of a crawl that is at work or was killed. The page, report.html, needs no network to be read.

    \b
    Examples:
      onesheet crawl report
      onesheet crawl report moviegenre-1f2e3d4c --out report/
      onesheet crawl report --store s3://bucket/posters --json
    """
    from crawler.report_terminal import render_terminal  # noqa: PLC0415
    from crawler.reporting import read_report, secrets_of, write_report  # noqa: PLC0415

    settings = load_settings(store=store)
    place = open_store(settings.store)
    found = read_report(place, crawl, secrets=secrets_of(settings))
    if not as_json:
        finish({}, as_json=False, table=render_terminal(found))
    written = write_report(found, place, out)
    if as_json:
        finish(found.to_dict() | written, as_json=True)
    else:
        finish(written, as_json=False)


def crawls(
    store: StoreOption = None,
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
