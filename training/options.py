"""Command-line options that several of the learner's commands take."""

from __future__ import annotations

from typing import Annotated

import typer

WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="A backbone's .weights.h5 file, a folder of them, imagenet, or none.", show_default="ONESHEET_WEIGHTS"
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        help="A name of your own: the same command again goes on where it has begun, and tells its result where it "
        "has ended.",
        show_default=False,
    ),
]
TrainingDatasetOption = Annotated[str | None, typer.Option(help="By default the newest crawl's.", show_default=False)]
TestDatasetOption = Annotated[
    str | None,
    typer.Option(help="On its test split; by default that of the dataset it was trained on.", show_default=False),
]
InputSideOption = Annotated[int | None, typer.Option(help="Of the model's input, in pixels.", show_default=False)]
CheckFlag = Annotated[bool, typer.Option("--check", help="Only check the options; nothing starts.")]
