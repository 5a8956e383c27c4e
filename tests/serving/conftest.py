"""What the tests of serving share: tiny bundles in a store of their own, and small posters."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cluster.store import FolderStore
from training.bundle import BundleCard, write_bundle
from training.registry import Registry

Register = Callable[..., BundleCard]
Poster = Callable[..., bytes]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(FolderStore(tmp_path / "store"))


@pytest.fixture
def register(registry: Registry, tmp_path: Path) -> Register:
    """register(version) → a tiny bundle whose scores follow red, green and blue, registered."""
    return lambda version, **changes: register_tiny(registry, tmp_path / "bundles" / version, version, **changes)


@pytest.fixture(scope="session")
def poster() -> Poster:
    """poster("red") → the bytes of a JPEG in one colour."""

    def make(color: str, *, size: tuple[int, int] = (64, 96), format: str = "JPEG") -> bytes:  # noqa: A002
        buffer = io.BytesIO()
        Image.new("RGB", size, color).save(buffer, format)
        return buffer.getvalue()

    return make


def tiny_model() -> Any:
    """Scores near 1 for the strongest colour: (Red, Green, Blue) = sigmoid(8 * (mean colour / 255 - 0.5))."""
    import keras

    image = keras.Input((24, 16, 3))
    color = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(3, activation="sigmoid")
    model = keras.Model(image, dense(color))
    dense.set_weights([8 * np.eye(3, dtype=np.float32), np.full(3, -4, np.float32)])
    return model


def register_tiny(registry: Registry, folder: Path, version: str, **changes: Any) -> BundleCard:
    card = BundleCard(
        version=version,
        architecture="tiny",
        genres=("Red", "Green", "Blue"),
        thresholds=(0.5, 0.5, 0.9),
        height_px=24,
        width_px=16,
        metrics={"macro_map": 0.375},
        prior_metrics={"macro_map": 0.102},
        lineage={"dataset_id": "d-tiny"},
    )
    written = write_bundle(folder, tiny_model(), card.model_copy(update=changes))
    registry.register(folder, written)
    return written
