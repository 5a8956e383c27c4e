"""What a stage's command says while it runs: the line for the one who watches, the result, the reason it failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.console import parse_result

_KEPT_LINES = 2_000


class StageLog:
    """Takes text as it comes, in any pieces, and keeps its last lines. on_line: is told of each whole line."""

    def __init__(self, on_line: Callable[[str], None] = lambda line: None) -> None:
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = ""

    def write(self, text: str) -> None:
        """More of it."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)

    def close(self) -> None:
        """There is no more of it."""
        self._take(self._rest)
        self._rest = ""

    @property
    def text(self) -> str:
        """Its last lines."""
        return "".join(f"{line}\n" for line in self._lines)

    @property
    def result(self) -> dict[str, Any]:
        """What the command told by `--json`: the last line that is JSON, since remarks may be behind it."""
        return next(filter(None, map(parse_result, reversed(self._lines))), {})

    @property
    def complaint(self) -> str:
        """Why it failed, in a sentence."""
        if error := self.result.get("error"):
            return str(error)
        said = [line for line in self._lines if line.strip() and not parse_result(line)]
        return said[-1].strip() if said else "it said nothing"

    def _take(self, line: str) -> None:
        # A bar that draws itself anew ends its lines with a carriage return.
        line = line.rstrip("\r").rpartition("\r")[2]
        if line.strip():
            self._lines.append(line)
            if not parse_result(line):
                self._on_line(line.strip())


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stage's command ended.

    exit_code: the command's own; None where it did not end by itself, but was killed, or its node was lost.
    """

    exit_code: int | None
    how: str
