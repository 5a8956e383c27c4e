"""The options that say how a command spreads over the cluster: the same words mean the same everywhere.

A worker is one process of the command's work on some node. Ray keeps so many CPUs and GPUs of that node for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from cluster.errors import ClusterError

WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes over the Ray cluster that share the work.")
]
OptionalWorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes over the Ray cluster that share the work.", show_default=False),
]
CpusPerWorkerOption = Annotated[
    int | None,
    typer.Option("--cpus-per-worker", min=1, help="CPUs that Ray keeps for each worker.", show_default=False),
]
GpusPerWorkerOption = Annotated[
    int, typer.Option("--gpus-per-worker", min=0, help="GPUs that Ray keeps for each worker.")
]


def room_for(there: Mapping[str, float], *, cpus: int, gpus: int) -> int:
    """How many workers find room at a time. there: `ray.cluster_resources()`. Raises ClusterError for none."""
    room = int(there.get("CPU", 0)) // max(1, cpus)
    if gpus:
        room = min(room, int(there.get("GPU", 0)) // gpus)
    if room < 1:
        raise ClusterError(
            f"a worker of {cpus} CPU and {gpus} GPU does not fit into the cluster's {there.get('CPU', 0):g} CPU and "
            f"{there.get('GPU', 0):g} GPU; ask for fewer with --cpus-per-worker and --gpus-per-worker"
        )
    return room
