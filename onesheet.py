"""The front door: composes the floors' commands into one command, `onesheet`, and holds no logic."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import logging
import sys
from typing import Annotated

import typer
from rich.markup import escape

from cluster.commands import demo
from cluster.console import console
from cluster.doctor_commands import doctor
from cluster.errors import OnesheetError
from cluster.job_commands import SUBMIT_CONTEXT, jobs_app, submit
from cluster.pipeline.command import pipeline
from cluster.settings import load_settings
from cluster.status import jobs_section, nodes_section, status_of
from cluster.testbed.commands import cluster_app
from crawler.catalog_commands import catalog_app
from crawler.commands import crawl_app, crawls
from crawler.site.commands import site
from crawler.status import crawl_section
from serving.commands import predict, serve
from serving.similar_commands import similar
from serving.status import endpoint_section
from training.architecture_commands import architectures
from training.dataset_commands import datasets, prepare
from training.evaluate_commands import compare, evaluate
from training.model_commands import models_app
from training.status import dataset_section, models_section
from training.train_commands import train
from training.tune_commands import tune

log = logging.getLogger("onesheet")

# How many objects more may be there before Python looks for cycles among the youngest.
_GARBAGE = 10_000

app = typer.Typer(
    name="onesheet",
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


app.command("demo")(demo)
app.command("site")(site)
app.add_typer(catalog_app, name="catalog")
app.add_typer(crawl_app, name="crawl")
app.command("crawls")(crawls)
app.command("prepare")(prepare)
app.command("datasets")(datasets)
app.command("architectures")(architectures)
app.command("train")(train)
app.command("tune")(tune)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.add_typer(models_app, name="models")
app.command("serve")(serve)
app.command("predict")(predict)
app.command("similar")(similar)
app.command("pipeline")(pipeline)
app.add_typer(cluster_app, name="cluster")
app.command("submit", context_settings=SUBMIT_CONTEXT)(submit)
app.add_typer(jobs_app, name="jobs")
app.command("status")(
    status_of(nodes_section, jobs_section, crawl_section, dataset_section, models_section, endpoint_section)
)
app.command("doctor")(doctor)


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
