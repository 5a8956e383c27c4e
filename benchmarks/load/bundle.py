"""A bundle to serve: an architecture as it is served, its weights random, since speed does not depend on them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cluster.store import open_store
from training.bundle import BundleCard, write_bundle
from training.network import build_network
from training.parts import default_recipe, input_size
from training.quiet import start_tensorflow
from training.registry import Registry

GENRES = 25


def register(store: str, architecture: str) -> None:
    """Register it in the store."""
    start_tensorflow()
    height_px, width_px = input_size(architecture, None, None)
    recipe = default_recipe(architecture)
    network = build_network(architecture, genres=GENRES, recipe=recipe, weights="none")
    card = BundleCard(
        version=f"random-{architecture}",
        architecture=architecture,
        genres=tuple(f"Genre {number}" for number in range(GENRES)),
        thresholds=(0.5,) * GENRES,
        height_px=height_px,
        width_px=width_px,
    )
    with tempfile.TemporaryDirectory(prefix="onesheet-bundle-") as folder:
        Registry(open_store(store)).register(Path(folder), write_bundle(Path(folder), network.model, card))
