"""What is up and what is not, part by part: each floor tells of its own, and none waits for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import OnesheetError
from cluster.settings import Settings

PART_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Where:
    """Where the parts are looked for. address: of the job server. endpoint: of the HTTP endpoint."""

    settings: Settings
    address: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part as it stands.

    lines: (what, how) for people, the latter with rich markup. data: the same for scripts. problem: why it is unknown.
    """

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A floor's own: what it is called, and how it is looked at, which may take long or fail."""

    title: str
    look: Callable[[Where], Section]


def gather(parts: Sequence[Part], where: Where, *, timeout_s: float = PART_TIMEOUT_S) -> list[Section]:
    """All sections, in the order of the parts; one that fails or does not answer in time says so."""
    found: dict[str, Section] = {}

    def look(part: Part) -> None:
        try:
            found[part.title] = part.look(where)
        except OnesheetError as error:
            found[part.title] = Section(part.title, problem=str(error))
        except Exception as error:  # a part that breaks must not hide the others
            found[part.title] = Section(part.title, problem=f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=look, args=(part,), daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    silent = f"no answer within {timeout_s:g} s"
    return [found.get(part.title) or Section(part.title, problem=silent) for part in parts]
