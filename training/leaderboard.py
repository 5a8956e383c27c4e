"""The leaderboard of a search: what a trial is, which is ahead, and the table for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

State = Literal["running", "ended", "stopped", "failed"]
NONE = "\u2013"
_STYLES = {"running": "cyan", "ended": "", "stopped": "dim", "failed": "red"}
_REMARKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial of a search.

    run: the name of its run. state: `stopped` is what the search's scheduler ended early. settings: what was drawn for
    it, without the architecture. score: its best validation macro mAP. seconds: the wall time of its training.
    history: a row an epoch with "epoch", "loss", "validation_macro_map" and "seconds". remark: why it failed.
    """

    number: int
    run: str
    state: State
    architecture: str
    settings: Mapping[str, Any]
    score: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    parameters: int | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    remark: str = ""

    @property
    def drawn(self) -> dict[str, Any]:
        """What was drawn for it, as `training.search_space.Space.suggest` gave it."""
        return {"architecture": self.architecture, **self.settings}

    def is_over(self) -> bool:
        """Whether it came to its end, or was ended: one that failed, or whose driver died, may be gone on with."""
        return self.state in ("ended", "stopped")

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "history": [dict(row) for row in self.history]}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Trial:
        """What `as_row` gave. Raises ValueError for a state that there is not, TypeError for other fields."""
        if row.get("state") not in get_args(State):
            raise ValueError(f"a trial's state is one of {', '.join(get_args(State))}, not {row.get('state')!r}")
        return cls(**{**row, "history": tuple(row.get("history", ()))})


def has_score(trial: Trial) -> bool:
    """Whether a trial came to a score; a network that diverged has none."""
    return trial.score is not None and math.isfinite(trial.score)


def finished(trials: Sequence[Trial]) -> int:
    """How many trials count for the budget: those that failed or were cut do not."""
    return sum(trial.is_over() for trial in trials)


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Best first, the quicker of equals before the other; those without a score last, as they were begun."""

    def order(trial: Trial) -> tuple[float, float, int]:
        if trial.score is None or not math.isfinite(trial.score):
            return math.inf, 0.0, trial.number
        return -trial.score, trial.seconds, trial.number

    return sorted(trials, key=order)


def varied(trials: Sequence[Trial]) -> list[str]:
    """The settings that are not the same in all trials, in the order in which they first appear."""
    names = dict.fromkeys(name for trial in trials for name in trial.settings)
    return [name for name in names if len({told(trial.settings.get(name)) for trial in trials}) > 1]


def told(value: Any) -> str:
    """A setting's value as people read it: three digits of a number, `mean, max` for a list, a dash for none."""
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case list() | tuple():
            return ", ".join(map(str, value)) or "none"
    return str(value)


def pareto_front(trials: Iterable[Trial]) -> list[Trial]:
    """The trials than which none is both quicker and better, quickest first."""
    front: list[Trial] = []
    for trial in sorted(filter(has_score, ranked(trials)), key=lambda trial: trial.seconds):
        if not front or (trial.score or 0) > (front[-1].score or 0):
            front.append(trial)
    return front


def in_words(trials: Sequence[Trial]) -> str:
    """`60 trials: 21 ended, 36 stopped early, 3 failed`."""
    counts = Counter(trial.state for trial in trials)
    words = {"ended": "ended", "stopped": "stopped early", "running": "running", "failed": "failed"}
    parts = ", ".join(f"{counts[state]:,} {word}" for state, word in words.items() if counts[state])  # type: ignore[index]
    return f"{len(trials):,} trial{'' if len(trials) == 1 else 's'}" + (f": {parts}" if parts else "")


def leaderboard_table(trials: Sequence[Trial], *, top: int = 10) -> RenderableType:
    """The best trials to print with rich, best first; the settings are columns where the terminal is wide enough."""
    return _Leaderboard(tuple(trials), top)


@dataclass(frozen=True, slots=True)
class _Leaderboard:
    trials: tuple[Trial, ...]
    top: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table with a column a setting; where these do not fit, with one column for all."""
        names = varied(self.trials)
        best = ranked(self.trials)[: self.top]
        table = _table(best, names, is_wide=True)
        # Measured without the terminal's own width, to which rich cuts what it measures.
        if Measurement.get(console, options.update(width=10_000), table).maximum > options.max_width:
            table = _table(best, names, is_wide=False)
        if best:
            yield table
            yield Text()
        yield from self._remarks(best)

    def _remarks(self, shown: Sequence[Trial]) -> Iterator[Text]:
        more = f", of which the best {len(shown)} are shown" if len(shown) < len(self.trials) else ""
        yield Text(in_words(self.trials) + more, "dim")
        failed = [trial for trial in self.trials if trial.state == "failed"]
        for trial in failed[:_REMARKS]:
            why = trial.remark.strip().partition("\n")[0] or "its log may say why"
            yield Text.assemble((f"trial {trial.number} failed", "red"), f": {why}")
        if len(failed) > _REMARKS:
            yield Text(f"and {len(failed) - _REMARKS:,} more failed", "dim")


def _table(trials: Sequence[Trial], names: Sequence[str], *, is_wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("place", "score", "epochs", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if is_wide:
        table.add_column("architecture", no_wrap=True)
        for name in names:
            table.add_column(name.replace("_", "\n"), no_wrap=True)
    else:
        table.add_column("architecture and settings", overflow="fold", ratio=1)
    for place, trial in enumerate(trials, 1):
        style = "bold" if place == 1 and has_score(trial) else _STYLES[trial.state]
        score = f"{trial.score:.4f}" if has_score(trial) else NONE
        cells = [f"{place}", score, f"{trial.epochs:,}", f"{trial.seconds / 60:.1f}", trial.state]
        row = [Text(cell, style) for cell in cells]
        if is_wide:
            row.append(Text(trial.architecture.replace("+", "\n+"), style))
            row += [Text(told(trial.settings.get(name)), style) for name in names]
        else:
            pairs = [f"{name}={told(trial.settings[name])}" for name in names if name in trial.settings]
            words = " ".join(pair.replace(", ", ",") for pair in pairs)
            row.append(
                Text.assemble((trial.architecture.replace("+", " + "), style), "\n" * bool(words), (words, "dim"))
            )
        table.add_row(*row)
    return table
