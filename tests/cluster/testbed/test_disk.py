"""A disk of a node's own is full and empty again, and this machine's is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cluster.testbed.disk import empty_disk, fill_disk, mount_disk, unmount_disk


def test_a_full_disk_takes_no_byte_until_it_is_emptied(tmp_path: Path) -> None:
    if not mount_disk(tmp_path, 4):
        pytest.skip("this user may not mount a disk")
    try:
        assert fill_disk(tmp_path) > 3 << 20
        with pytest.raises(OSError, match="No space left") as error:
            (tmp_path / "more").write_bytes(b"1")
        assert error.value.errno == errno.ENOSPC
        assert fill_disk(tmp_path) > 3 << 20, "again is no error"
        empty_disk(tmp_path)
        (tmp_path / "more").write_bytes(b"1")
        empty_disk(tmp_path)
    finally:
        for _ in range(2):
            unmount_disk(tmp_path)
    assert not os.path.ismount(tmp_path)
    assert list(tmp_path.iterdir()) == []
