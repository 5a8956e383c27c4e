"""The front door: composes the floors' commands into one command, `onesheet`, and holds no logic."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import logging
import sys
from collections import UserDict
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from cluster.console import console
from cluster.errors import OnesheetError
from cluster.settings import load_settings

log = logging.getLogger("onesheet")

# How many objects more may be there before Python looks for cycles among the youngest.
_GARBAGE = 10_000


def _status() -> Callable[..., None]:
    from cluster.status import jobs_section, nodes_section, status_of  # noqa: PLC0415
    from crawler.status import crawl_section  # noqa: PLC0415
    from serving.status import endpoint_section  # noqa: PLC0415
    from training.status import dataset_section, models_section  # noqa: PLC0415

    return status_of(nodes_section, jobs_section, crawl_section, dataset_section, models_section, endpoint_section)


# Where each command's function or group lies, and the settings of its context where it has any; or who makes it.
_COMMANDS: dict[str, str | Callable[[], Callable[..., None]]] = {
    "demo": "cluster.commands:demo",
    "site": "crawler.site.commands:site",
    "catalog": "crawler.catalog_commands:catalog_app",
    "crawl": "crawler.commands:crawl_app",
    "crawls": "crawler.commands:crawls",
    "prepare": "training.dataset_commands:prepare",
    "datasets": "training.dataset_commands:datasets",
    "architectures": "training.architecture_commands:architectures",
    "train": "training.train_commands:train",
    "tune": "training.tune_commands:tune",
    "evaluate": "training.evaluate_commands:evaluate",
    "compare": "training.evaluate_commands:compare",
    "models": "training.model_commands:models_app",
    "serve": "serving.commands:serve",
    "predict": "serving.commands:predict",
    "similar": "serving.similar_commands:similar",
    "pipeline": "cluster.pipeline.command:pipeline",
    "cluster": "cluster.testbed.commands:cluster_app",
    "submit": "cluster.job_commands:submit:SUBMIT_CONTEXT",
    "jobs": "cluster.job_commands:jobs_app",
    "status": _status,
    "doctor": "cluster.doctor_commands:doctor",
}


class _Commands(UserDict[str, Any]):
    """Commands by their names, each imported when it is looked at: those of all floors take half a second."""

    def __getitem__(self, name: str) -> Any:
        found = self.data[name]
        if not isinstance(found, TyperCommand | TyperGroup):
            found = self.data[name] = _command(name, found)
        return found


class _FrontDoor(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands(_COMMANDS)


def _command(name: str, place: str | Callable[[], Callable[..., None]]) -> Any:
    """A command as Typer makes it."""
    holder = typer.Typer(callback=_root, pretty_exceptions_enable=False, rich_markup_mode="rich")
    if callable(place):
        holder.command(name)(place())
    else:
        path, attribute, *settings = place.split(":")
        module = importlib.import_module(path)
        found = getattr(module, attribute)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name, context_settings=getattr(module, settings[0]) if settings else None)(found)
    return typer.main.get_group(holder).commands[name]


app = typer.Typer(
    name="onesheet",
    cls=_FrontDoor,
    help="Harvest movie posters into object storage, learn their genres on a Ray cluster, serve the winner.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"onesheet {importlib.metadata.version('onesheet')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; an error that a user can act on becomes one line and exit code 1."""
    # What a command imports is hundreds of thousands of objects that stay: to look for cycles among them every 700 is
    # a tenth of its start.
    gc.set_threshold(_GARBAGE)
    try:
        handler = logging.StreamHandler()
        # The handler's level, not a logger's: Scrapy and Ray set their loggers' levels themselves.
        handler.setLevel(load_settings().log_level)
        logging.basicConfig(handlers=[handler], level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
        app()
    except OnesheetError as error:
        log.debug("the error's traceback", exc_info=True)
        console.print(f"[bold red]onesheet:[/] {escape(str(error))}")
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error)}))  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # Python looks for cycles among all that was ever imported before it ends: half a second for nothing.
        gc.freeze()


if __name__ == "__main__":
    main()
