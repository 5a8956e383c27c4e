"""A command-line option that several of the learner's commands take."""

from __future__ import annotations

from typing import Annotated

import typer

WeightsOption = Annotated[
    str | None,
    typer.Option(
        help="A backbone's .weights.h5 file, a folder of them, imagenet, or none.", show_default="ONESHEET_WEIGHTS"
    ),
]
