"""The cluster's commands, for the front door to compose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cluster.console import JsonFlag, finish
from cluster.cores import available_cores
from cluster.errors import ClusterError
from cluster.settings import load_settings


def demo(
    catalog: Annotated[Path | None, typer.Option(help="A catalogue of yours; needs --posters.")] = None,
    posters: Annotated[Path | None, typer.Option(help="Its folder of <imdb_id>.jpg; needs --catalog.")] = None,
    weights: Annotated[Path | None, typer.Option(help="MobileNetV2 without top, as .weights.h5.")] = None,
    store: Annotated[
        str | None, typer.Option(help="By default a folder inside --folder, or ONESHEET_STORE.", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its files.")] = Path("demo"),
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers.")] = min(2, available_cores()),
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
