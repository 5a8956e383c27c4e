"""Whether a command line that a document or a manifest shows would be taken: the command exists, with its options."""

from __future__ import annotations

import importlib.util
import re
import shlex
from functools import cache
from typing import Any

import typer
from typer.exceptions import TyperException

from onesheet import app
from tests.conftest import ROOT

PROGRAMS = ("onesheet", "make", "python", "scrapy")


class WrongCommandError(Exception):
    """What is wrong with a command line."""


def check(line: str) -> None:
    """Raise WrongCommandError unless `line` begins with one of PROGRAMS and that would take the rest."""
    program, *words = shlex.split(line)
    {"onesheet": _onesheet, "make": _make, "python": _python, "scrapy": _scrapy}[program](words)


def _onesheet(words: list[str]) -> None:
    command, name = _root(), "onesheet"
    # A group may have options of its own, such as --version.
    while hasattr(command, "commands") and not any(words[:1] == [own] for each in command.params for own in each.opts):
        default = getattr(command, "default_command", None)
        name = words.pop(0) if words and (words[0] in command.commands or not default) else default or ""
        if name not in command.commands:
            raise WrongCommandError(f"onesheet has no command {name!r}")
        command = command.commands[name]
    parser = command.make_parser(command.context_class(command, info_name=name, **command.context_settings))
    try:
        # Only what is there is looked at: documents leave out arguments and put words in the place of values.
        given, *_ = parser.parse_args(args=list(words))
    except TyperException as error:
        # Prose names an option without its value.
        if "requires an argument" in str(error):
            return
        raise WrongCommandError(f"onesheet {name}: {error}") from error
    if name == "submit" and given.get("command"):
        _onesheet(list(given["command"]))


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def _make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if words[0] not in targets:
        raise WrongCommandError(f"the Makefile has no target {words[0]!r}")


def _python(words: list[str]) -> None:
    match words:
        case ["-m", module, *_]:
            if importlib.util.find_spec(module) is None:
                raise WrongCommandError(f"there is no module {module}")
        case ["-c", code, *_]:
            compile(code, "-c", "exec")
        case [script, *_]:
            if not (ROOT / script).is_file():
                raise WrongCommandError(f"there is no script {script}")


def _scrapy(words: list[str]) -> None:
    from scrapy.cmdline import _get_commands_dict
    from scrapy.spiderloader import SpiderLoader
    from scrapy.utils.project import get_project_settings

    settings = get_project_settings()
    if words[0] not in _get_commands_dict(settings, inproject=True):
        raise WrongCommandError(f"scrapy has no command {words[0]!r}")
    if words[0] == "crawl" and words[1] not in SpiderLoader.from_settings(settings).list():
        raise WrongCommandError(f"there is no spider {words[1]!r}")
