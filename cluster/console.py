"""What a command says: progress and remarks on standard error, results on standard output."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)
_out = Console(highlight=False, soft_wrap=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="End with one machine-readable line of JSON.")]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="Object storage: s3://bucket/prefix, or a folder.", show_default="ONESHEET_STORE"),
]


def say(message: str) -> None:
    """A remark for the person who watches; rich markup allowed."""
    console.print(message)


def parse_result(line: str | bytes) -> dict[str, Any]:
    """What a command told by `--json`, of a line of its output; empty where the line is something else."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def finish(result: dict[str, Any], *, as_json: bool, table: Any = None) -> None:
    """The command's result: a table or `name: value` lines for people, or one line of JSON as the last line."""
    if as_json:
        print(json.dumps(result, default=str), flush=True)  # noqa: T201
    elif table is not None:
        _out.print(table)
    else:
        width = max((len(name) for name in result), default=0)
        for name, value in result.items():
            _out.print(f"{name:<{width}}  {value}", markup=False)
