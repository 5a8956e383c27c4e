"""Decoded posters of one worker: each is decoded once, and kept on local disk where there is room."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from typing import IO, Any, Self

import numpy as np
from PIL import Image

from training.preprocessing import to_pixels
from training.rows import Rows

# Of the free disk: others live there too.
_SHARE_OF_DISK = 0.5


class Pixels:
    """Row i as uint8 [height_px, width_px, 3]. A context manager: leaving it frees the disk.

    Read with `pread` and not mapped: what the operating system keeps in its file cache is then nobody's memory. keep:
    without it each reading decodes anew, which suits a single pass; so does a disk without room for all rows.
    """

    def __init__(self, rows: Rows, *, height_px: int, width_px: int, keep: bool = True) -> None:
        self._rows = rows
        self.shape = (height_px, width_px, 3)
        self._size = height_px * width_px * 3
        self._file: IO[bytes] | None = None
        self._kept = np.zeros(len(rows), bool)
        if keep and len(rows) * self._size <= shutil.disk_usage(tempfile.gettempdir()).free * _SHARE_OF_DISK:
            self._file = tempfile.TemporaryFile(prefix="onesheet-pixels-")  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, row: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """One row."""
        if self._file is not None and self._kept[row]:
            kept = os.pread(self._file.fileno(), self._size, row * self._size)
            return np.frombuffer(kept, np.uint8).reshape(self.shape)
        height_px, width_px, _ = self.shape
        image = Image.open(io.BytesIO(self._rows.encoded(row)))
        found = to_pixels(image, height_px=height_px, width_px=width_px)
        if self._file is not None:
            # Two threads may do it at once: they write the same bytes.
            os.pwrite(self._file.fileno(), found.tobytes(), row * self._size)
            self._kept[row] = True
        return found

    def batch(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Several rows: uint8 [len(rows), height_px, width_px, 3]."""
        found = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            found[place] = self(int(row))
        return found
