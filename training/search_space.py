"""The space that a search draws from, as a short TOML file that a user edits.

    architecture = ["mobilenet_v2@224x160", "efficientnet_lite2@384x256"]   # a list: one of these
    epochs = 40                                                             # a value: always this
    dropout = { from = 0.3, to = 0.9 }                                      # a range
    learning_rate = { from = 1e-4, to = 1e-2, log = true }                  # by its logarithm
    hidden_units = { from = 32, to = 512 }                                  # whole numbers, as the setting is one
    pooling = [["mean"], ["mean", "max"], "rich"]                           # choices that are lists themselves

    [for."efficientnet_lite2*"]                                             # only for architectures like this
    dropout = { from = 0.6, to = 0.9 }

Names are the fields of `training.recipe.Recipe`, `architecture`, `height_px` and `width_px`. A `for` table goes before
what stands above it, and of several that match, the later one. `training/search.toml` is an example.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from cluster.errors import TrainingError
from training.recipe import Recipe, RecipeError

_SIZES = ("height_px", "width_px")
_LISTS = ("augmentation", "pooling")
# What only some losses read is drawn only for these, so that no sampler learns from what had no effect.
_READ_BY = {"gamma": ("focal", "asymmetric"), "margin": ("asymmetric",)}


class SearchSpaceError(TrainingError):
    """A search space that says something impossible; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A setting that is the same in every trial."""

    value: Any

    def draw(self, trial: Any, name: str) -> Any:
        """The value; nothing is drawn."""
        return self.value

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": "fixed", "value": self.value}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of at least two values."""

    values: tuple[Any, ...]

    def draw(self, trial: Any, name: str) -> Any:
        """One of the values."""
        known = [self.known_as(value) for value in self.values]
        return self.values[known.index(trial.suggest_categorical(name, known))]

    def known_as(self, value: Any) -> Any:
        """A value as Optuna sees it, which keeps no lists: as text where one of the values is a list."""
        return _text(value) if any(isinstance(one, list) for one in self.values) else value

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": "choice", "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, both included; `log`: uniform in its logarithm; `whole`: an integer."""

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, trial: Any, name: str) -> Any:
        """A number."""
        suggest = trial.suggest_int if self.whole else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log)

    def known_as(self, value: Any) -> Any:
        """A value as Optuna sees it: as it is."""
        return value

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": "range", "from": self.low, "to": self.high, "log": self.log, "whole": self.whole}


Setting = Fixed | Choice | Range


@dataclass(frozen=True, slots=True)
class Space:
    """What a search draws from. parts: a pattern of architectures → settings that go before `settings` for these."""

    architecture: Fixed | Choice
    settings: dict[str, Setting]
    parts: dict[str, dict[str, Setting]] = field(default_factory=dict)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Draw a trial's settings: `architecture`, perhaps `height_px` and `width_px`, and changes to a recipe.

        trial: an optuna.Trial, or what `ray.tune.search.optuna.OptunaSearch(space=space.suggest)` gives for one. A
        setting of a `for` table has its table's pattern in the name that Optuna knows it by, since it may have other
        choices elsewhere; OptunaSearch adds those names to a trial's configuration, where they may be ignored.
        """
        drawn = {"architecture": self.architecture.draw(trial, "architecture")}
        settings = self.settings_for(drawn["architecture"])
        for name in sorted(settings, key=lambda name: name in _READ_BY):  # their loss is drawn before them
            label, setting = settings[name]
            if name not in _READ_BY or drawn.get("loss", _READ_BY[name][0]) in _READ_BY[name]:
                drawn[name] = setting.draw(trial, label)
        return drawn

    def names_of(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What `suggest` drew, by the names and in the form that Optuna knows it by: drawn anew, it is the same."""
        settings = {"architecture": ("architecture", self.architecture), **self.settings_for(drawn["architecture"])}
        return {
            label: setting.known_as(drawn[name])
            for name, (label, setting) in settings.items()
            if name in drawn and not isinstance(setting, Fixed)
        }

    def settings_for(self, architecture: str) -> dict[str, tuple[str, Setting]]:
        """The settings for an architecture by name, each with the name that Optuna knows it by."""
        found = {name: (name, setting) for name, setting in self.settings.items()}
        for pattern, settings in self.parts.items():
            if fnmatchcase(architecture, pattern):
                found |= {name: (f"{name} for {pattern}", setting) for name, setting in settings.items()}
        return found

    @property
    def architectures(self) -> tuple[str, ...]:
        """All architecture expressions."""
        return (self.architecture.value,) if isinstance(self.architecture, Fixed) else self.architecture.values

    def as_dict(self) -> dict[str, Any]:
        """For JSON: "settings" and "for", of which each setting is a dict with a "kind": fixed, choice or range."""
        top = {"architecture": self.architecture.as_dict()}
        top |= {name: setting.as_dict() for name, setting in self.settings.items()}
        parts = {
            pattern: {name: setting.as_dict() for name, setting in settings.items()}
            for pattern, settings in self.parts.items()
        }
        return {"settings": top, "for": parts}


def read_space(path: Path) -> Space:
    """The space in a file. Raises SearchSpaceError for a file that cannot be read, and as `parse_space` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SearchSpaceError(f"{path}: the search space cannot be read: {reason}") from error
    return parse_space(text, source=str(path))


def parse_space(text: str, *, source: str) -> Space:
    """The space in a TOML text; `source` names it in errors.

    Every architecture and every value is tried on the recipe that will get it.
    Raises SearchSpaceError that names the key, and says what it may be.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SearchSpaceError(f"{source} is no TOML: {error}") from error
    parts = table.pop("for", {})
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise SearchSpaceError(f'{source}, for: write [for."PATTERN"] with settings below it')
    if "architecture" not in table:
        raise SearchSpaceError(f'{source}: architecture is missing; write architecture = ["mobilenet_v2@224x160"]')
    architecture = _architecture(f"{source}, architecture", table.pop("architecture"))
    space = Space(
        architecture,
        {name: _setting(f"{source}, {name}", name, value) for name, value in table.items()},
        {
            pattern: {name: _setting(f'{source}, for."{pattern}".{name}', name, value) for name, value in part.items()}
            for pattern, part in parts.items()
        },
    )
    for pattern in space.parts:
        if not any(fnmatchcase(name, pattern) for name in space.architectures):
            raise SearchSpaceError(
                f'{source}, for."{pattern}" matches none of the architectures {", ".join(space.architectures)}'
            )
    _check_sizes(source, space)
    drawn = [one for name in space.architectures for _, one in space.settings_for(name).values()]
    if all(isinstance(one, Fixed) for one in (architecture, *drawn)):
        raise SearchSpaceError(f"{source}: nothing varies; give a setting choices or a range, or use `onesheet train`")
    return space


def _architecture(where: str, value: Any) -> Fixed | Choice:
    from training.network import parts_of  # noqa: PLC0415

    expressions = value if isinstance(value, list) else [value]
    if not all(isinstance(expression, str) for expression in expressions):
        raise SearchSpaceError(f"{where}: write a name, or a list of names to choose from")
    for expression in expressions:
        try:
            parts_of(expression)
        except TrainingError as error:
            raise SearchSpaceError(f"{where}: {error}") from error
    return _fixed_or_choice(where, "architecture", value)


def _setting(where: str, name: str, value: Any) -> Setting:
    if name == "architecture":
        raise SearchSpaceError(f"{where}: architectures stand at the top of the file, before any table")
    if name not in Recipe.model_fields and name not in _SIZES:
        known = ", ".join((*_SIZES, *Recipe.model_fields))
        raise SearchSpaceError(f"{where}: there is no such setting; there are architecture, {known}")
    if isinstance(value, dict):
        return _range(where, name, value)
    found = _fixed_or_choice(where, name, value)
    for one in (found.value,) if isinstance(found, Fixed) else found.values:
        _check(where, name, one)
    return found


def _fixed_or_choice(where: str, name: str, value: Any) -> Fixed | Choice:
    if not isinstance(value, list):
        return Fixed(value)
    if not value:
        nothing = f"; for an empty {name} write [[]]" if name in _LISTS else ""
        raise SearchSpaceError(f"{where}: a list is choices, and this one has none{nothing}")
    if len({_text(one) for one in value}) < len(value):
        raise SearchSpaceError(f"{where}: a choice is there twice")
    return Fixed(value[0]) if len(value) == 1 else Choice(tuple(value))


def _range(where: str, name: str, table: dict[str, Any]) -> Range:
    form = "write { from = 1e-4, to = 1e-2, log = true }, of which log and whole may be left out"
    low: Any = table.get("from")
    high: Any = table.get("to")
    is_log, is_whole = table.get("log", False), table.get("whole", False)
    are_numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    are_flags = isinstance(is_log, bool) and isinstance(is_whole, bool)
    if set(table) - {"from", "to", "log", "whole"} or not are_numbers or not are_flags:
        raise SearchSpaceError(f"{where}: {form}")
    if not low < high or not math.isfinite(high - low):
        raise SearchSpaceError(f"{where}: from {low} to {high} is no range; from is the smaller number")
    if is_log and low <= 0:
        raise SearchSpaceError(f"{where}: with log = true, from is above 0")
    is_whole = is_whole or float not in _kinds(name)
    if is_whole and not all(float(end).is_integer() for end in (low, high)):
        raise SearchSpaceError(f"{where}: from and to are whole numbers here")
    number = int if is_whole else float
    found = Range(number(low), number(high), log=is_log, whole=is_whole)
    for end in (found.low, found.high):
        _check(where, name, end)
    return found


def _kinds(name: str) -> set[Any]:
    if name in _SIZES:
        return {int}
    annotation = Recipe.model_fields[name].annotation
    return set(get_args(annotation)) | {annotation}


def _check(where: str, name: str, value: Any) -> None:
    """Raise SearchSpaceError for a value that no recipe takes."""
    words = [value] if isinstance(value, str) else value
    if name in _LISTS and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise SearchSpaceError(f"{where} {value!r}: a choice is a list of words, or words with commas between them")
    if name in _SIZES:
        if not isinstance(value, int) or isinstance(value, bool):
            raise SearchSpaceError(f"{where} {value!r}: a size is a whole number of pixels")
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise SearchSpaceError(f"{where} {value!r}: a setting is a finite number")
    try:
        Recipe.model_validate({}).changed({name: value})
    except RecipeError as error:
        raise SearchSpaceError(f"{where} {str(error).removeprefix(f'{name} ')}") from error


def _check_sizes(source: str, space: Space) -> None:
    from training.network import input_size  # noqa: PLC0415

    for architecture in space.architectures:
        settings = {name: setting for name, (_, setting) in space.settings_for(architecture).items()}
        least = {name: min(_values(settings[name])) for name in _SIZES if name in settings}
        try:
            input_size(architecture, **least)
        except TrainingError as error:
            raise SearchSpaceError(f"{source}, {' and '.join(least)}: {error}") from error


def _values(setting: Setting) -> Iterator[Any]:
    if isinstance(setting, Fixed):
        yield setting.value
    else:
        yield from setting.values if isinstance(setting, Choice) else (setting.low, setting.high)


def _text(value: Any) -> str:
    return ",".join(str(word) for word in value) if isinstance(value, list) else str(value)
