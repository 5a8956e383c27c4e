"""TensorFlow's start without its remarks about the machine, which its native code writes at every log level."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def start_tensorflow() -> None:
    """Import TensorFlow and look for GPUs, with standard error silenced meanwhile; the first call counts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf  # noqa: PLC0415

        tf.config.list_logical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
