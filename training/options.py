"""Command-line options that several of the learner's commands take."""

from __future__ import annotations

from typing import Annotated

import typer

StoreOption = Annotated[str | None, typer.Option(help="Instead of ONESHEET_STORE.", show_default=False)]

WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="A backbone's .weights.h5 file, a folder of them, imagenet, or none.", show_default="ONESHEET_WEIGHTS"
    ),
]
