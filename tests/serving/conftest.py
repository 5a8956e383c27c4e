"""What the tests of serving share: tiny bundles in a store of their own, and small posters."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from PIL import Image

from cluster.nodes import LocalCluster
from cluster.store import FolderStore, Store
from cluster.testbed.bed import Bed
from training.bundle import BundleCard, write_bundle
from training.embedding import Embedder
from training.preprocessing import to_pixels
from training.registry import Registry
from training.similar import SCHEMA, PosterIndex, encode, fit_projection

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


class Site(ThreadingHTTPServer):
    """Answers each path with what `answers` holds for it: a body, (status, headers) or a function."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        self.server.headers.append(dict(self.headers))
        found = self.server.answers.get(path, (404, {}))
        if callable(found):
            found = found()
        status, headers, body = (200, {}, found) if isinstance(found, bytes) else (*found, b"")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def running_app(app: Any) -> Iterator[str]:
    """The URL of an ASGI app, served by a real server within the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def tiny_model() -> Any:
    """Scores near 1 for the strongest colour: (Red, Green, Blue) = sigmoid(8 * (mean colour / 255 - 0.5))."""
    import keras

    image = keras.Input((24, 16, 3))
    color = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(3, activation="sigmoid")
    model = keras.Model(image, dense(color))
    dense.set_weights([8 * np.eye(3, dtype=np.float32), np.full(3, -4, np.float32)])
    return model


# imdb_id → title, year and the colour of its poster; the first has no title.
FILMS = {
    f"tt{place:07}": (f"The {color} film" if place > 1 else None, 1950 + place if place > 1 else None, color)
    for place, color in enumerate(
        ("black", "red", "darkred", "orange", "yellow", "lime", "green", "cyan", "blue", "navy", "purple", "white"), 1
    )
}


def tiny_index(model: Any, store: Store) -> PosterIndex:
    """An index of the FILMS, whose posters are in the store then, by what a tiny model sees in them."""
    pixels, rows = [], []
    for imdb_id, (title, year, color) in FILMS.items():
        poster = Image.new("RGB", (64, 96), color)
        sink = io.BytesIO()
        poster.save(sink, "JPEG", quality=95)
        store.put(f"posters/{imdb_id}.jpg", sink.getvalue())
        pixels.append(to_pixels(poster, height_px=24, width_px=16))
        rows.append({"imdb_id": imdb_id, "title": title, "year": year, "genres": [color.title()]})
    features = Embedder(model)(np.stack(pixels))
    projection = fit_projection(features)
    return PosterIndex(pa.Table.from_pylist(rows, schema=SCHEMA), encode(features, projection), projection)


def register_tiny(
    registry: Registry, folder: Path, version: str, *, has_index: bool = False, **changes: Any
) -> BundleCard:
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
    model = tiny_model()
    index = tiny_index(model, registry.store) if has_index else None
    written = write_bundle(folder, model, card.model_copy(update=changes), index)
    registry.register(folder, written)
    return written


def serve(*words: str | Path, cluster: LocalCluster | Bed) -> str:
    """Ray's command `serve`, which must end well, and what it says."""
    command = [sys.executable, "-m", "ray.serve.scripts", *map(str, words), "-a", cluster.dashboard_url]
    ended = subprocess.run(
        command, env={**os.environ, **cluster.environment()}, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
