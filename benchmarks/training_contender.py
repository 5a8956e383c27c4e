"""One contender of `benchmarks.training`, which runs this in a process of its own."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

PLAIN, ONESHEET, ONESHEET_BFLOAT16 = "plain Keras", "onesheet", "onesheet, mixed_bfloat16"
GENRES = 25
_SIDE_PX = 350
_BATCH_SIZE = 32


def contend(
    name: str,
    source: Path,
    labels: Path,
    epochs: int,
    waits: Annotated[Path | None, typer.Option(help="Write the share of a step that waits for input here.")] = None,
) -> None:
    """Train as the contender of that name does."""
    if name == PLAIN:
        train_plainly(source, labels, epochs)
    else:
        train_as_onesheet(source, epochs, waits, precision="mixed_bfloat16" if name == ONESHEET_BFLOAT16 else "float32")


def network() -> Any:
    """`cnn_4block_bn`, which both train."""
    from training.architecture import BuildOptions, find  # noqa: PLC0415

    options = BuildOptions(genres=GENRES, height_px=_SIDE_PX, width_px=_SIDE_PX)
    return find("cnn_4block_bn").build(options)


def train_plainly(posters: Path, labels: Path, epochs: int) -> None:
    """The plain script: all posters as float32 in memory, then `fit`."""
    import keras  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    with labels.open(newline="") as file:
        rows = list(csv.reader(file))
    images = []
    for row in rows:
        image = keras.utils.load_img(posters / f"{row[0]}.jpg", target_size=(_SIDE_PX, _SIDE_PX))
        images.append(keras.utils.img_to_array(image))
    x = np.array(images)
    y = np.array([[float(value) for value in row[1:]] for row in rows], np.float32)
    model = network()
    model.compile("adam", "binary_crossentropy")
    model.fit(x, y, batch_size=_BATCH_SIZE, epochs=epochs, verbose=2)


def train_as_onesheet(store_folder: Path, epochs: int, waits: Path | None, *, precision: str) -> None:
    """onesheet's rows, pixels, batches and step, as one worker of a run has them, without Ray."""
    import keras  # noqa: PLC0415

    from cluster.store import FolderStore  # noqa: PLC0415
    from training.dataset import read_card  # noqa: PLC0415
    from training.fused import with_fused_batch_norm  # noqa: PLC0415
    from training.inputs import Epochs, training_batches  # noqa: PLC0415
    from training.parallel import DataParallelModel, Workers  # noqa: PLC0415
    from training.pixels import Pixels  # noqa: PLC0415
    from training.rows import Rows  # noqa: PLC0415

    keras.config.set_dtype_policy(precision)
    store = FolderStore(store_folder)
    card = read_card(store, "ds-benchmark")
    with Rows(store, card, "train") as rows, Pixels(rows, height_px=_SIDE_PX, width_px=_SIDE_PX) as pixels:
        batches = training_batches(pixels, rows, Epochs(), rank=0, world_size=1, batch_size=_BATCH_SIZE, seed=0)
        model = DataParallelModel(with_fused_batch_norm(network()), Workers(rank=0, world_size=1))
        model.compile("adam", "binary_crossentropy")
        if epochs:
            model.fit(batches.prefetch(2), epochs=epochs, verbose=2)
        if waits:
            waits.write_text(json.dumps(waiting_share(model, batches.prefetch(2))))


def waiting_share(model: Any, batches: Any) -> float:
    """The share of an epoch that its steps wait for their batch, of the second epoch: the first one decodes."""
    waited = total = 0.0
    for epoch in range(2):
        iterator = iter(batches)
        waited = total = 0.0
        while True:
            began = time.perf_counter()
            batch = next(iterator, None)
            if batch is None:
                break
            came = time.perf_counter()
            model.train_on_batch(*batch)
            if epoch:
                waited += came - began
                total += time.perf_counter() - began
    return waited / total


if __name__ == "__main__":
    typer.run(contend)
