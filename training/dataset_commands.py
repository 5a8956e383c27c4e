"""`onesheet prepare` and `onesheet datasets`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.console import JsonFlag, StoreOption, console, finish, say
from cluster.resources import CpusPerWorkerOption, OptionalWorkersOption
from cluster.settings import load_settings
from cluster.store import Store, open_store
from training.options import CheckFlag

if TYPE_CHECKING:
    from training.dataset_card import Card


def prepare(
    store: StoreOption = None,
    crawl: Annotated[str | None, typer.Option(help="A crawl's id; by default the newest.", show_default=False)] = None,
    max_height: Annotated[int, typer.Option(help="Taller posters are made this high, in pixels.")] = 640,
    validation_share: Annotated[float, typer.Option(help="Share of the titles to tune on.")] = 0.1,
    test_share: Annotated[float, typer.Option(help="Share of the titles to measure on.")] = 0.2,
    min_posters: Annotated[
        int | None,
        typer.Option(
            help="Rarer genres are left out; by default 1% of the posters, at least 10; 1 keeps all.",
            show_default=False,
        ),
    ] = None,
    synonym: Annotated[
        list[str] | None,
        typer.Option(help="Spelling=Genre, over the built-in ones; may be given again.", show_default=False),
    ] = None,
    near_duplicates: Annotated[
        int | None,
        typer.Option(
            help="Posters whose perceptual hashes differ in so many of 64 bits stay in one split; by default 8, and 6 "
            "beyond a million posters.",
            show_default=False,
        ),
    ] = None,
    same_titles: Annotated[bool, typer.Option(help="Titles that read the same stay in one split.")] = True,
    split: Annotated[
        Path | None,
        typer.Option(help="A CSV or Parquet file with imdb_id and split, instead of a split.", show_default=False),
    ] = None,
    split_from: Annotated[
        str | None,
        typer.Option(
            help="A dataset whose titles keep their split, or none; by default those of all earlier datasets do.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="Take a stratified part of so many posters.", show_default=False)
    ] = None,
    workers: OptionalWorkersOption = None,
    cpus_per_worker: CpusPerWorkerOption = None,
    check: CheckFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a dataset of a crawl's posters: cleaned, labelled, split by groups of near-duplicates, in shards.

    Without --workers the threads of this process do the work.

    \b
    Examples:
      onesheet prepare
      onesheet prepare --crawl moviegenre-1a2b3c4d --min-posters 50 --synonym "Kids=Family"
      onesheet prepare --sample 3000
      onesheet prepare --split published.csv
      onesheet prepare --store s3://bucket/posters --workers 16 --json
    """
    from rich.progress import Progress  # noqa: PLC0415

    from cluster.nodes import connect  # noqa: PLC0415
    from training.dataset import PrepareOptions  # noqa: PLC0415
    from training.dataset import prepare as prepare_dataset  # noqa: PLC0415
    from training.known_sides import read_split_file  # noqa: PLC0415

    settings = load_settings(store=store)
    options = PrepareOptions(
        max_height_px=max_height,
        validation_share=validation_share,
        test_share=test_share,
        min_posters=min_posters,
        max_pixels=settings.max_poster_pixels,
        near_duplicates=near_duplicates,
        same_titles=same_titles,
        sample=sample,
        synonyms=tuple(synonym or ()),
    )
    given = read_split_file(split) if split else None
    if check:
        finish({"checked": True}, as_json=as_json)
        return
    opened = open_store(settings.store)
    with (
        connect(settings) if workers is not None else contextlib.nullcontext(),
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("reading the ledger, grouping, splitting", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, description="posters", completed=done, total=total)

        card = prepare_dataset(
            opened,
            crawl,
            options,
            show,
            workers=workers,
            cpus_per_worker=cpus_per_worker or 1,
            given=given,
            split_from=split_from,
        )
    _tell(opened, card, as_json=as_json)


def datasets(
    dataset: Annotated[str | None, typer.Argument(help="Show this one.", show_default=False)] = None,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the datasets of the store, or show one.

    \b
    Examples:
      onesheet datasets
      onesheet datasets ds-1a2b3c4d5e6f
      onesheet datasets --json
    """
    from training.dataset_card import by_age, read_card  # noqa: PLC0415

    opened = open_store(load_settings(store=store).store)
    if dataset is not None:
        _tell(opened, read_card(opened, dataset), as_json=as_json)
        return
    cards = by_age(opened)
    table = Table("dataset", "crawl", "genres", "train", "validation", "test")
    for card in cards:
        table.add_row(card.dataset_id, card.crawl_id, str(len(card.genres)), *map(str, card.posters.values()))
    rows = [{"dataset_id": card.dataset_id, "crawl_id": card.crawl_id, "posters": card.posters} for card in cards]
    finish({"datasets": rows}, as_json=as_json, table=table)


def _tell(store: Store, card: Card, *, as_json: bool) -> None:
    """What a dataset is, and where its page lies."""
    from training.dataset_card import key_of, read_making  # noqa: PLC0415

    say(f"[bold]{card.dataset_id}[/]: " + "  →  ".join(f"{name} {count:,}" for name, count in card.funnel.items()))
    for reason, count in card.dropped.items():
        say(f"left out {count:,}: {reason}")
    if near := card.near_duplicates:
        say(
            f"{near['posters_in_them']:,} posters are in {near['groups_of_several']:,} groups of near-duplicates, "
            f"{near['on_several_sides']:,} of which are in several splits"
        )
    if kept_from := read_making(store, card.dataset_id).get("split_kept_from"):
        say(f"titles kept the split that they had in {', '.join(kept_from)}")
    table = Table("genre", *card.genre_counts)
    for genre in card.genres:
        table.add_row(genre, *(f"{counts[genre]:,}" for counts in card.genre_counts.values()))
    page = store.url_of(key_of(card.dataset_id, "card.html"))
    result: dict[str, Any] = {
        "dataset_id": card.dataset_id,
        "crawl_id": card.crawl_id,
        "funnel": card.funnel,
        "dropped": card.dropped,
        "genres": card.genres,
        "near_duplicates": card.near_duplicates,
        "page": page,
    }
    finish(result, as_json=as_json, table=table)
    say(f"with pictures: {page}")
