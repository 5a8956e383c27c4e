"""A Keras model as OpenVINO's intermediate representation: what serving runs, without TensorFlow.

Two files of a bundle, `model.xml` (the graph) and `model.bin` (its weights, float32). Neither runs code.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cluster.errors import TrainingError
from training.embedding import features_of
from training.metrics import Array
from training.runtimes import TOLERANCE, Images, OpenVino, Scores

GRAPH_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"


class ExportError(TrainingError):
    """A model that OpenVINO does not take, or scores otherwise; or there is no OpenVINO."""


def export(model: Any, folder: Path) -> None:
    """Write the model's two files into `folder`, and compare their scores with Keras's. Raises ExportError.

    model: a keras.Model, [batch, H, W, 3] → [batch, genres]. The exported one takes uint8 images, any number of them.
    """
    try:
        import openvino  # noqa: PLC0415
    except ImportError as error:
        raise ExportError("OpenVINO is not installed: pip install openvino") from error
    from training.quiet import start_tensorflow  # noqa: PLC0415

    start_tensorflow()
    # Not openvino.convert_model, which reports to Intel's telemetry.
    core = openvino.Core()
    core.add_extension(_resizing())
    try:
        with tempfile.TemporaryDirectory(prefix="onesheet-export-") as name:
            frozen = Path(name) / "frozen.pb"
            frozen.write_bytes(_frozen(model))
            # Else it halves the weights, which moves scores by a thousandth.
            openvino.save_model(core.read_model(frozen), folder / GRAPH_FILE, compress_to_fp16=False)
        scores = OpenVino(folder / GRAPH_FILE)(probe(*model.input_shape[1:3]))
    except RuntimeError as error:
        _remove(folder)
        raise ExportError(f"OpenVINO cannot take it: {(str(error).strip() or 'no reason').splitlines()[-1]}") from error
    difference = float(np.abs(scores - probe_scores(model)).max())
    # NaN is no agreement either.
    if not difference <= TOLERANCE:
        _remove(folder)
        raise ExportError(f"OpenVINO's scores of a test picture are {difference:.2g} apart from Keras's")


def probe(height_px: int, width_px: int) -> Images:
    """Two pictures that every machine makes alike, uint8 [2, height_px, width_px, 3]: a slope of colours, and noise.

    A bundle's card says how Keras scored them when it was registered; whoever loads it compares.
    """
    rows, columns = np.mgrid[:height_px, :width_px]
    slope = np.stack([rows * 255 // height_px, columns * 255 // width_px, (rows + columns) % 256], axis=-1)
    places = np.arange(height_px * width_px * 3, dtype=np.uint64).reshape(height_px, width_px, 3)
    # Knuth's multiplicative hash: no generator's next version changes it.
    noise = (places * np.uint64(2_654_435_761) % np.uint64(2**32)) >> np.uint64(24)
    return np.stack([slope, noise]).astype(np.uint8)


def probe_scores(model: Any) -> Scores:
    """A keras.Model's scores of the probe: float32 [2, genres]."""
    images = probe(*model.input_shape[1:3]).astype(np.float32)
    return np.asarray(model(images, training=False), dtype=np.float32)


def _frozen(model: Any) -> bytes:
    """The TensorFlow graph of the forward pass, its variables made constants: images → scores, features."""
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow.python.framework import convert_to_constants  # noqa: PLC0415

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")])
    def seen(images: Any) -> Any:
        scores = model(tf.cast(images, tf.float32), training=False)
        return tf.cast(scores, tf.float32), features_of(scores)

    frozen = convert_to_constants.convert_variables_to_constants_v2(seen.get_concrete_function())
    data: bytes = frozen.graph.as_graph_def().SerializeToString()
    return data


def _resizing() -> Any:
    """OpenVINO knows no antialiased resizing (`ScaleAndTranslate`); of a fixed size it is a matrix for each axis."""
    from openvino import opset13 as ops  # noqa: PLC0415
    from openvino.frontend.tensorflow import ConversionExtension  # noqa: PLC0415

    def convert(node: Any) -> list[Any]:
        images, size = node.get_input(0), node.get_input(1)
        _, height, width, channels = (int(length) for length in images.get_partial_shape().get_min_shape())
        new_height, new_width = (int(side) for side in size.get_node().get_vector())
        across = ops.matmul(ops.constant(_matrix(width, new_width)), images, False, False)
        rows = ops.reshape(across, ops.constant([0, height, new_width * channels]), special_zero=True)
        down = ops.matmul(ops.constant(_matrix(height, new_height)), rows, False, False)
        resized = ops.reshape(down, ops.constant([0, new_height, new_width, channels]), special_zero=True)
        return list(resized.outputs())

    return ConversionExtension("ScaleAndTranslate", convert)


def _matrix(length: int, new_length: int) -> Array:
    """What an antialiased bilinear resize does to an axis: float32 [new_length, length]."""
    import tensorflow as tf  # noqa: PLC0415

    identity = tf.eye(length)[None, :, :, None]
    matrix: Array = tf.image.resize(identity, (new_length, length), "bilinear", antialias=True).numpy()[0, :, :, 0]
    return matrix


def _remove(folder: Path) -> None:
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        (folder / name).unlink(missing_ok=True)
