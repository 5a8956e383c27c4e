"""`onesheet architectures`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.console import JsonFlag, StoreOption, console, finish
from cluster.settings import load_settings
from cluster.store import open_store

# The genres of the posters that most of the published networks were made for.
_GENRES = 25


def architectures(
    name: Annotated[
        str | None, typer.Argument(help="One to show with its recipe; by default all.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Whose genres to count for; by default the newest's.", show_default=False)
    ] = None,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the architectures that `onesheet train` knows, or show one, yours or a combination too.

    \b
    Examples:
      onesheet architectures
      onesheet architectures cnn_4block_bn
      onesheet architectures efficientnet_lite2@544x368+mobilenet_v2@448x320
      onesheet architectures my_package.my_module:my_network --json
    """
    from training.network import parts_of  # noqa: PLC0415

    if name is not None:
        parts_of(name)
    genres = _genres(dataset, store)
    if name is not None:
        _show(name, genres, as_json)
    else:
        _list(genres, as_json)


def _list(genres: int, as_json: bool) -> None:
    from rich.progress import track  # noqa: PLC0415

    from training.architecture import names  # noqa: PLC0415

    rows = [
        _facts(name, genres)
        for name in track(
            names(), "counting parameters", console=console, transient=True, disable=not console.is_terminal
        )
    ]
    table = Table()
    for column in ("name", "input", "published", f"{genres} genres"):
        table.add_column(column, no_wrap=True)
    table.add_column("source")
    for row in rows:
        # Who and when; what it is called is told of each alone.
        source = row["source"].partition(",")[0]
        table.add_row(row["name"], _input(row), _published(row), f"{row['parameters']:,}", source)
    finish({"genres": genres, "architectures": rows}, as_json=as_json, table=table)


def _show(expression: str, genres: int, as_json: bool) -> None:
    facts = _facts(expression, genres)
    table = Table("what", expression)
    table.add_row("summary", facts["summary"])
    table.add_row("source", facts["source"])
    table.add_row("input", f"{_input(facts)}x3")
    table.add_row("parameters, published (genres)", _published(facts) or "-")
    table.add_row(f"parameters for {genres} genres", f"{facts['parameters']:,}")
    table.add_row("takes weights", "yes" if facts["takes_weights"] else "no", end_section=True)
    for name, value in facts["recipe"].items():
        table.add_row(name, ", ".join(value) or "-" if isinstance(value, (list, tuple)) else str(value))
    finish({"genres": genres, **facts}, as_json=as_json, table=table)


def _facts(expression: str, genres: int) -> dict[str, Any]:
    """What there is to say of an expression, in plain values."""
    from training.network import count_parameters, default_recipe, input_size, parts_of  # noqa: PLC0415
    from training.quiet import start_tensorflow  # noqa: PLC0415

    start_tensorflow()
    found = list(dict.fromkeys(part.architecture for part in parts_of(expression)))
    height_px, width_px = input_size(expression)
    return {
        "name": expression,
        "summary": "; ".join(one.summary for one in found),
        "source": "; ".join(one.source for one in found),
        "height_px": height_px,
        "width_px": width_px,
        "parameters": count_parameters(expression, genres=genres),
        "published_parameters": found[0].published_parameters if len(found) == 1 else None,
        "published_genres": found[0].published_genres if len(found) == 1 else None,
        "takes_weights": any(one.takes_weights for one in found),
        "recipe": default_recipe(expression).model_dump(mode="json"),
    }


def _input(facts: dict[str, Any]) -> str:
    return f"{facts['height_px']}x{facts['width_px']}"


def _published(facts: dict[str, Any]) -> str:
    if facts["published_parameters"] is None:
        return ""
    return f"{facts['published_parameters']:,} ({facts['published_genres']})"


def _genres(dataset: str | None, store: str | None) -> int:
    """How many genres a dataset has; those of most published networks where none is named and there is none."""
    from training.dataset import DatasetError, newest_dataset, read_card  # noqa: PLC0415

    opened = open_store(load_settings(store=store).store)
    if dataset is not None:
        return len(read_card(opened, dataset).genres)
    try:
        return len(newest_dataset(opened).genres)
    except DatasetError:
        return _GENRES
