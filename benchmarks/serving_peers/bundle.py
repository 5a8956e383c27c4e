"""A store with one model in production, and the same as MODEL.keras: `python -m benchmarks.serving_peers.bundle …`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cluster.settings import load_settings
from cluster.store import open_store
from training.bundle import BundleCard, write_bundle
from training.network import build_network
from training.parts import default_recipe
from training.quiet import start_tensorflow
from training.registry import Registry

GENRES = 25


def main(expression: str, folder: str) -> None:
    """Into `folder`: `store`, and `model.keras`."""
    start_tensorflow()
    weights = load_settings().weights
    model = build_network(expression, genres=GENRES, recipe=default_recipe(expression), weights=weights).model
    height_px, width_px = model.input_shape[1:3]
    names = tuple(f"Genre {number}" for number in range(GENRES))
    card = BundleCard(
        version="benchmark",
        architecture=expression,
        genres=names,
        thresholds=(0.5,) * GENRES,
        height_px=height_px,
        width_px=width_px,
    )
    registry = Registry(open_store(f"{folder}/store"))
    with tempfile.TemporaryDirectory() as name:
        registry.register(Path(name), write_bundle(Path(name), model, card))
    registry.promote("benchmark")
    model.save(f"{folder}/model.keras")


if __name__ == "__main__":
    main(*sys.argv[1:])
