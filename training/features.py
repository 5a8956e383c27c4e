"""What frozen backbones see in a dataset's posters: computed once, kept beside it, read by whoever trains a head.

    datasets/<dataset_id>/features/<trunk>/<pooling>/<split>/00000.npy     float16 [posters of the shard, F]

A trunk's key names its weights and its input, so what is there is right and is never made again. All poolings are made
at once, since only the backbone takes time: a search may draw any of them.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from cluster.store import Store, open_store
from training.architecture import Trunk
from training.dataset import Card, read_card
from training.recipe import Pooling
from training.task import TrainTask, build_task_network

# A head is trained on the one and scored on the other; what is served sees images.
KEPT_SPLITS = ("train", "validation")


def feature_key(card: Card, trunk: Trunk, pooling: Pooling, split: str, shard: int) -> str:
    """Where a shard's features are."""
    return f"datasets/{card.dataset_id}/features/{trunk.key}/{pooling}/{split}/{shard:05}.npy"


def make_features(
    task: TrainTask,
    card: Card,
    trunks: Sequence[Trunk],
    *,
    workers: int,
    gpus_per_worker: int,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute the features that are missing, a shard at a time, on as many Ray actors as a run has workers.

    trunks: the frozen backbones of the task's network, where it has any. An actor that dies is started anew, and does
    its shard again.
    """
    import ray  # noqa: PLC0415
    from ray.util import ActorPool  # noqa: PLC0415

    store = open_store(task.store).patient()
    there = set(store.list(f"datasets/{card.dataset_id}/features/")) if trunks else set()
    missing = [
        (place, split, shard)
        for place, trunk in enumerate(trunks)
        for split in KEPT_SPLITS
        for shard in range(len(card.shards[split]))
        if not there.issuperset(feature_key(card, trunk, pooling, split, shard) for pooling in trunk.widths)
    ]
    if not missing:
        return
    names = ", ".join(trunks[place].key.partition("-")[0] for place in sorted({place for place, _, _ in missing}))
    say(f"features of {', '.join(KEPT_SPLITS)} posters from {names}, once")
    began = time.monotonic()
    maker = ray.remote(FeatureMaker).options(
        num_cpus=task.cpus,
        num_gpus=gpus_per_worker,
        max_restarts=2,
        max_task_retries=2,
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": str(task.cpus)}},
    )
    pool = ActorPool([maker.remote(asdict(task)) for _ in range(min(workers, len(missing)))])
    done = 0
    for shards, made in enumerate(pool.map_unordered(lambda actor, work: actor.make.remote(*work), missing), start=1):
        done += made
        progress(shards, len(missing))
    say(f"  {done / (time.monotonic() - began):.0f} posters/s")


class FeatureMaker:
    """An actor with the task's frozen backbones."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = TrainTask(**task)
        self._store = open_store(self._task.store).patient()
        self._card = read_card(self._store, self._task.dataset_id)
        self._trunks = build_task_network(self._task, self._card).trunks
        self._forwards: dict[int, Callable[[Any], Any]] = {}

    def make(self, place: int, split: str, shard: int) -> int:
        """Compute and keep the features of one shard from the trunk at that place; how many posters it has."""
        from training.rows import Rows  # noqa: PLC0415
        from training.scoring import inference, predict  # noqa: PLC0415

        trunk = self._trunks[place]
        if place not in self._forwards:
            self._forwards[place] = inference(trunk.model)
        with Rows(self._store, self._card, split, shards=[shard]) as rows:
            size = {"height_px": self._task.height_px, "width_px": self._task.width_px}
            features = predict(self._forwards[place], rows, **size).astype(np.float16)
        for pooling, some in trunk.split(features).items():
            sink = io.BytesIO()
            np.save(sink, np.ascontiguousarray(some))
            self._store.put(feature_key(self._card, trunk, pooling, split, shard), sink.getvalue())
        return len(features)


class Features:
    """One worker's rows of a split: row i is row `rank + i * world_size`; what the trunks' heads read of them.

    On local disk, mapped into memory: the operating system decides how much of it stays there. A context manager:
    leaving it frees the disk.
    """

    def __init__(
        self, store: Store, card: Card, split: str, trunks: Sequence[Trunk], *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._length = len(range(rank, card.posters[split], world_size))
        shards = range(len(card.shards[split]))
        self._parts = [
            _read(store, [feature_key(card, trunk, pooling, split, shard) for shard in shards], rank, world_size)
            for trunk in trunks
            for pooling in trunk.poolings
        ]
        self.width = sum(part.shape[1] for part in self._parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts = []

    def __len__(self) -> int:
        return self._length

    def batch(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """float32 [len(rows), F]."""
        return np.concatenate([part[rows] for part in self._parts], axis=1, dtype=np.float32)


def _read(store: Store, keys: Sequence[str], rank: int, world_size: int) -> np.memmap[Any, np.dtype[np.float16]]:
    start = place = 0
    with tempfile.TemporaryFile(prefix="onesheet-features-") as file:
        for key in keys:
            made = np.load(io.BytesIO(store.get(key)), allow_pickle=False)
            mine = made[(rank - start) % world_size :: world_size]
            file.write(np.ascontiguousarray(mine).tobytes())
            start += len(made)
            place += len(mine)
        file.flush()
        return np.memmap(file, np.float16, "r", shape=(place, made.shape[1]))
