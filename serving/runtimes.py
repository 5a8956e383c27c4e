"""From a bundle to the runtime that serves it, checked against what Keras said when the bundle was registered."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from training.bundle import BundleCard, BundleError, load_model, verify_files
from training.export import GRAPH_FILE, ExportError, export, probe
from training.quiet import start_tensorflow
from training.runtimes import TOLERANCE, OpenVino, Runtime, RuntimeName, TensorFlow

log = logging.getLogger(__name__)


def load_runtime(
    folder: Path, card: BundleCard, name: RuntimeName = "openvino", *, threads: int | None = None
) -> Runtime:
    """The runtime of the bundle in `folder`: its files verified, warm, and with Keras's scores.

    A bundle of before, which has no export, is exported into the folder. Where that fails, or OpenVINO is not
    installed, TensorFlow runs the model and the log says why. threads: OpenVINO's, by default one a core.
    Raises BundleError.
    """
    verify_files(folder, card)
    runtime = _openvino(folder, card, threads) if name == "openvino" else None
    if runtime is None:
        runtime = TensorFlow(_keras_model(folder, card))
    _check(runtime, card)
    return runtime


def _openvino(folder: Path, card: BundleCard, threads: int | None) -> Runtime | None:
    try:
        if GRAPH_FILE not in card.files:
            export(_keras_model(folder, card), folder)
            log.info("bundle %s has no export and was exported here: register it again to start quicker", card.version)
        return OpenVino(folder / GRAPH_FILE, threads=threads)
    except ImportError:
        log.warning("OpenVINO is not installed (pip install openvino): TensorFlow, which is slower, runs the model")
    except ExportError as error:
        log.warning("TensorFlow, which is slower, runs bundle %s: %s", card.version, error)
    except RuntimeError as error:
        raise BundleError(f"the export of bundle {card.version} is refused: {_last_line(error)}") from error
    return None


def _keras_model(folder: Path, card: BundleCard) -> Any:
    start_tensorflow()
    return load_model(folder, card)


def _check(runtime: Runtime, card: BundleCard) -> None:
    images = probe(card.height_px, card.width_px)
    try:
        # A runtime prepares itself at the first call, and for each new batch size; a poster then waits for neither.
        runtime(images[:1])
        scores = runtime(images)
    except RuntimeError as error:
        raise BundleError(f"the model of bundle {card.version} does not run: {_last_line(error)}") from error
    if scores.shape != (len(images), len(card.genres)) or not np.isfinite(scores).all():
        raise BundleError(f"the model of bundle {card.version} scores a test picture as {scores[0]}")
    if card.probe_scores:
        difference = float(np.abs(scores - np.array(card.probe_scores)).max())
        if difference > TOLERANCE:
            raise BundleError(
                f"bundle {card.version}: {runtime.name}'s scores of a test picture are {difference:.2g} apart from"
                " those that it was registered with"
            )


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
