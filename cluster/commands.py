"""The cluster's commands, for the front door to compose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cluster import jobs
from cluster.console import JsonFlag, finish
from cluster.errors import ClusterError
from cluster.settings import Settings, as_environment, load_settings
from cluster.store import FolderStore, open_store

# Options before COMMAND are submit's own, all behind it belong to the command that is submitted.
SUBMIT_CONTEXT = {"allow_interspersed_args": False}

_EXIT_CODES = {jobs.JobStatus.SUCCEEDED: 0, jobs.JobStatus.FAILED: 1, jobs.JobStatus.STOPPED: 130}


def submit(
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="An onesheet command with its options.", show_default=False),
    ],
    address: Annotated[
        str,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The job server: the Ray dashboard's address."),
    ] = jobs.DEFAULT_ADDRESS,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="A folder to upload and run in, for code that is newer than the nodes' image."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run an onesheet command as a job on a running Ray cluster.

    The job gets the ONESHEET_ settings of this shell, and no credentials: each node has its own. The log is
    followed; Ctrl-C stops the job. Exits with 0 if the job succeeded, 1 if it failed, 130 if it was stopped.

    [bold]Examples[/]

        onesheet submit train --architecture mobilenet_v2 --workers 2

        onesheet submit --address http://ray-head:8265 --json crawl titles.csv
    """
    result = jobs.submit(
        ["onesheet", *command],
        address=address,
        working_dir=working_dir,
        environment=_for_a_job(load_settings()),
    )
    finish({"job_id": result.job_id, "status": result.status.value, "exit_code": result.exit_code}, as_json=as_json)
    raise typer.Exit(_EXIT_CODES[result.status])


def _for_a_job(settings: Settings) -> dict[str, str]:
    """The settings as a job's environment; a store that is a folder by its full path, as jobs start elsewhere."""
    environment = as_environment(settings)
    if "ONESHEET_STORE" in environment and isinstance(store := open_store(settings.store), FolderStore):
        environment["ONESHEET_STORE"] = store.url
    return environment


def demo(
    catalog: Annotated[Path | None, typer.Option(help="A catalogue of yours; needs --posters.")] = None,
    posters: Annotated[Path | None, typer.Option(help="Its folder of <imdb_id>.jpg; needs --catalog.")] = None,
    weights: Annotated[Path | None, typer.Option(help="MobileNetV2 without top, as .weights.h5.")] = None,
    store: Annotated[
        str | None, typer.Option(help="By default a folder inside --folder, or ONESHEET_STORE.", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its files.")] = Path("demo"),
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = min(2, os.cpu_count() or 1),
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of the training; by default the recipe's.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the endpoint.")] = 8000,
    as_json: JsonFlag = False,
) -> None:
    """Run the main job here, from catalogue to endpoint, each stage as the command that you would type.

    Without a catalogue, a rehearsal site invents 400 films. Ctrl-C ends the endpoint and everything else.

    [bold]Examples[/]

        onesheet demo

        onesheet demo --catalog train.csv --posters Images --weights mobilenet_v2_no_top.weights.h5

        onesheet demo --store s3://bucket/onesheet
    """
    from cluster.demo import DemoOptions, run_demo  # noqa: PLC0415

    if (catalog is None) != (posters is None):
        raise ClusterError("--catalog and --posters belong together: a catalogue and its folder of images")
    for path in (catalog, posters, weights):
        if path and not path.exists():
            raise ClusterError(f"{path} does not exist")
    chosen = store or os.environ.get("ONESHEET_STORE") or str(folder / "store")
    run_demo(
        DemoOptions(
            folder=folder,
            store=load_settings(store=chosen).store,
            catalog=catalog,
            posters=posters,
            weights=weights,
            workers=workers,
            epochs=epochs,
            port=port,
        ),
        on_ready=lambda result: finish(result, as_json=True) if as_json else None,
    )
