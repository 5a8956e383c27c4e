"""A pipeline's file: its name, its catalogue, and the options of each stage's command, checked.

TOML, as the search space is: typed values, no surprises with `no` and `1e-3`, read by Python itself. A table is a
command, a key in it an option of that command without its dashes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from cluster.errors import ClusterError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_LEARNERS = ("train", "tune")
# The commands below `onesheet` whose options the tables hold.
COMMANDS: dict[str, tuple[str, ...]] = {
    "crawl": ("crawl", "run"),
    "prepare": ("prepare",),
    "train": ("train",),
    "tune": ("tune",),
    "promote": ("models", "promote"),
}
# Options that the pipeline itself gives, or that would make another command of it.
_OWN = frozenset(
    {"store", "json", "help", "crawl-id", "crawl", "dataset", "name", "resume", "check", "if-better", "show-space"}
)

# Click's, or that of typer's own copy of click.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

Value = str | int | float | bool | list[str | int | float]
Options = Mapping[str, Value]


class PipelineError(ClusterError):
    """A pipeline's file that says something impossible."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a pipeline is to do. learner: `train` or `tune`. options: by table, by option without its dashes."""

    source: str
    name: str
    catalog: str
    learner: str
    options: Mapping[str, Options]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in their order."""
        return ("crawl", "prepare", self.learner, "evaluate", "promote")

    def options_of(self, stage: str) -> Options:
        """A stage's options, as they are written."""
        return self.options.get(stage, {})

    def arguments(self, stage: str) -> list[str]:
        """The same as words of a command line."""
        return as_arguments(self.options_of(stage))


def as_arguments(options: Options) -> list[str]:
    """Options as words of a command line: true is a flag, false its opposite, a list the option again and again."""
    words = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
    return words


def read_pipeline(path: Path) -> Pipeline:
    """Read a file. Raises PipelineError that names the file and the key, and says what it may be."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PipelineError(f"{path} does not exist; make one: onesheet pipeline --example > {path.name}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(f"{path} is no TOML: {error}") from error
    return _parsed(str(path), table)


def _parsed(source: str, table: dict[str, Any]) -> Pipeline:
    known = ("name", "catalog", *COMMANDS)
    for key in table:
        if key not in known:
            raise PipelineError(f"{source}: {key!r} is not known{_meant(key, known)}; known: {', '.join(known)}")
    name, catalog = (_text(source, table, key) for key in ("name", "catalog"))
    if not _NAME.fullmatch(name):
        raise PipelineError(f"{source}, name {name!r}: use lower-case letters, digits and . _ - (at most 60)")
    if catalog == "-":
        raise PipelineError(f"{source}, catalog: a pipeline runs again, so it needs a file or s3://bucket/key, not -")
    learners = [learner for learner in _LEARNERS if learner in table] or ["train"]
    if len(learners) > 1:
        raise PipelineError(f"{source}: [train] and [tune] are two ways to come to a model; leave one")
    options = {}
    for stage in COMMANDS:
        given = table.get(stage, {})
        if not isinstance(given, dict):
            raise PipelineError(f"{source}, {stage}: write [{stage}] with options of `{command_of(stage)}` below it")
        options[stage] = {
            key.replace("_", "-"): _value(f"{source}, [{stage}] {key}", value) for key, value in given.items()
        }
    return Pipeline(source, name, catalog, learners[0], options)


def command_of(stage: str) -> str:
    """A stage's command as people write it."""
    return "onesheet " + " ".join(word for word in COMMANDS[stage] if word != "run")


def check_options(pipeline: Pipeline, root: Any) -> None:
    """Raise PipelineError for an option that a stage's command does not have, or does not take.

    root: the command `onesheet`, as its own parser knows it.
    """
    for stage, options in pipeline.options.items():
        command = root
        for word in COMMANDS[stage]:
            command = command.commands[word]
        parameters = {name.removeprefix("--"): each for each in command.params for name in each.opts if name[:1] == "-"}
        known = [name for name in parameters if name not in _OWN]
        for name, value in options.items():
            where = f"{pipeline.source}, [{stage}] {name}"
            if name in _OWN and name in parameters:
                raise PipelineError(f"{where}: the pipeline gives --{name} itself; leave it out")
            if name not in known:
                raise PipelineError(f"{where}: `{command_of(stage)}` has no --{name}{_meant(name, known)}")
            _check_form(where, parameters[name], value)
            words = ["VERSION"] if stage == "promote" else []
            try:
                command.make_context(command_of(stage), [*words, *as_arguments({name: value})])
            except _UsageError as error:
                raise PipelineError(f"{where} = {value!r}: {getattr(error, 'message', error)}") from error


def _check_form(where: str, parameter: Any, value: Value) -> None:
    if parameter.is_flag:
        if not isinstance(value, bool):
            raise PipelineError(f"{where} = {value!r}: write true or false")
        if not value and not parameter.secondary_opts:
            raise PipelineError(f"{where} = false: that is so anyway; leave it out")
    elif isinstance(value, bool) or (isinstance(value, list) and not parameter.multiple):
        raise PipelineError(f"{where} = {value!r}: write one value, as behind {parameter.opts[0]}")


def _text(source: str, table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        example = {"name": "nightly", "catalog": "MovieGenre.csv"}[key]
        raise PipelineError(f'{source}: {key} is missing; write {key} = "{example}" above the tables')
    return value


def _value(where: str, value: Any) -> Value:
    each = value if isinstance(value, list) else [value]
    if not each or not all(isinstance(one, str | int | float) for one in each):
        raise PipelineError(f"{where} = {value!r}: write a text, a number, true, false, or a list of texts or numbers")
    if isinstance(value, list) and any(isinstance(one, bool) for one in value):
        raise PipelineError(f"{where} = {value!r}: true and false stand alone")
    found: Value = value
    return found


def _meant(word: str, known: Any) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
