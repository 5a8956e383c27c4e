"""What a person sees of long work: lines that stay, and under them one that lives, where there is a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.console import console
from training.telling import Events


@contextlib.contextmanager
def live_line() -> Iterator[Events]:
    """A function for events, each of which redraws the line.

    Without a terminal nothing is drawn: the lines that stay tell enough.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[remark]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, remark="", visible=False)
        shown = ""

        def draw(event: dict[str, Any]) -> None:
            nonlocal shown
            if event["what"] != shown:
                shown = event["what"]
                bar.reset(task, total=event["steps"], description=shown, visible=True)
            loss = event.get("loss")
            bar.update(task, completed=event["step"], remark="" if loss is None else f"loss {loss:.4f}")

        yield draw
