"""A disk of a node's own: a RAM disk of limited size over its folder, which can be filled up."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

_BALLAST = "ballast"
_PIECE = bytes(1 << 20)


def mount_disk(folder: Path, size_mb: int) -> bool:
    """Whether a disk of that size now lies over the folder; False where this user may not mount."""
    if sys.platform != "linux":
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "onesheet", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603


def unmount_disk(folder: Path) -> None:
    """Also where a process that ends has not let go of it yet; no disk is no error."""
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)  # noqa: S603, S607


def fill_disk(folder: Path) -> int:
    """Write until nothing fits any more; the bytes that it took."""
    with (folder / _BALLAST).open("ab", buffering=0) as ballast:
        for piece in (_PIECE, _PIECE[:4096], _PIECE[:1]):
            try:
                while True:
                    ballast.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return ballast.tell()


def empty_disk(folder: Path) -> None:
    """Undo `fill_disk`."""
    with contextlib.suppress(FileNotFoundError):
        (folder / _BALLAST).unlink()
