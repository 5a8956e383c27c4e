from __future__ import annotations

import io
import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from cluster.store import FolderStore
from training.dataset import Card
from training.pixels import Pixels
from training.preprocessing import to_pixels
from training.rows import Rows


def decoded(rows: Rows, row: int) -> np.ndarray:
    return to_pixels(Image.open(io.BytesIO(rows.encoded(row))), height_px=24, width_px=16)


def test_a_row_read_twice_is_decoded_once_and_the_same(
    dataset: tuple[FolderStore, Card], monkeypatch: pytest.MonkeyPatch
):
    store, card = dataset
    with Rows(store, card, "test") as rows, Pixels(rows, height_px=24, width_px=16) as pixels:
        wanted = np.stack([decoded(rows, row) for row in range(len(rows))])
        assert (pixels.batch(np.arange(len(rows))) == wanted).all()
        monkeypatch.setattr(rows, "encoded", lambda row: pytest.fail(f"row {row} was decoded again"))
        assert (pixels.batch(np.arange(len(rows))[::-1]) == wanted[::-1]).all()


def test_what_the_disk_has_no_room_for_is_decoded_anew(
    dataset: tuple[FolderStore, Card], monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1000, 990, 10))
    store, card = dataset
    with Rows(store, card, "test") as rows, Pixels(rows, height_px=24, width_px=16) as pixels:
        assert (pixels(0) == pixels(0)).all()
        monkeypatch.setattr(rows, "encoded", lambda row: (_ for _ in ()).throw(RuntimeError("asked again")))
        with pytest.raises(RuntimeError, match="asked again"):
            pixels(0)
