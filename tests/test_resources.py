"""The flags for resources: the same words, meaning the same, at every command that has them."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from cluster.errors import ClusterError
from cluster.resources import room_for
from onesheet import app

# What each command can make use of: a crawl and a dataset need no GPU, an evaluation is one worker.
FLAGS = {
    "crawl": ("--workers", "--cpus-per-worker"),
    "prepare": ("--workers", "--cpus-per-worker"),
    "train": ("--workers", "--cpus-per-worker", "--gpus-per-worker"),
    "tune": ("--workers", "--cpus-per-worker", "--gpus-per-worker"),
    "evaluate": ("--cpus-per-worker", "--gpus-per-worker"),
    "predict": ("--workers", "--cpus-per-worker", "--gpus-per-worker"),
}


def options_of(name: str) -> dict[str, Any]:
    command: Any = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        command = command.commands[command.default_command]
    return {option: parameter for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", FLAGS)
def test_every_stage_has_the_flags_that_make_sense(name: str) -> None:
    options = options_of(name)
    assert tuple(flag for flag in FLAGS["train"] if flag in options) == FLAGS[name]


@pytest.mark.parametrize("flag", FLAGS["train"])
def test_a_flag_says_and_takes_the_same_everywhere(flag: str) -> None:
    found = {(options_of(name)[flag].help, options_of(name)[flag].nargs) for name in FLAGS if flag in FLAGS[name]}
    assert len(found) == 1


def test_room_for_workers() -> None:
    assert room_for({"CPU": 7.5}, cpus=2, gpus=0) == 3
    assert room_for({"CPU": 64, "GPU": 4}, cpus=2, gpus=1) == 4
    with pytest.raises(
        ClusterError, match="a worker of 2 CPU and 1 GPU does not fit into the cluster's 8 CPU and 0 GPU"
    ):
        room_for({"CPU": 8}, cpus=2, gpus=1)
