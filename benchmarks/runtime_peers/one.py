"""One runtime and one model in a process of its own: `python -m benchmarks.runtime_peers.one RUNTIME FOLDER`.

FOLDER has model.keras, posters.npy and expected.npy; what a runtime reads besides is made by `convert`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from cluster.cores import available_cores
from training.runtimes import OpenVino, TensorFlow

BATCHES = (1, 8, 16)
_SECONDS = 2.0
Scores = Callable[[Any], Any]


def keras_predict(folder: Path) -> Scores:
    """`model.predict`."""
    model = _keras(folder)
    return lambda images: model.predict(images.astype(np.float32), verbose=0)


def tf_function(folder: Path) -> Scores:
    """A `tf.function`, onesheet's other runtime."""
    return TensorFlow(_keras(folder))


def tf_function_fused(folder: Path) -> Scores:
    """The same with BatchNorm by TensorFlow's fused kernel."""
    from training.fused import with_fused_batch_norm  # noqa: PLC0415

    return TensorFlow(with_fused_batch_norm(_keras(folder)))


def litert(folder: Path) -> Scores:
    """LiteRT, whose CPU kernels are XNNPACK's."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    made: dict[int, Any] = {}

    def scores(images: Any) -> Any:
        if len(images) not in made:
            one = Interpreter(str(folder / "model.tflite"), num_threads=available_cores())
            one.resize_tensor_input(one.get_input_details()[0]["index"], images.shape)
            one.allocate_tensors()
            made[len(images)] = one
        one = made[len(images)]
        one.set_tensor(one.get_input_details()[0]["index"], images)
        one.invoke()
        return one.get_tensor(one.get_output_details()[0]["index"])

    return scores


def onnx_runtime(folder: Path) -> Scores:
    """ONNX Runtime's CPU provider."""
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def openvino(folder: Path) -> Scores:
    """OpenVINO in float32, onesheet's default."""
    return OpenVino(folder / "model.xml")


def openvino_bfloat16(folder: Path) -> Scores:
    """OpenVINO in bfloat16, which it takes of its own accord where the CPU has it."""
    import openvino as ov  # noqa: PLC0415

    options = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", options)
    return lambda images: compiled(images)[0]


RUNTIMES: dict[str, Callable[[Path], Scores]] = {
    "Keras, model.predict": keras_predict,
    "tf.function": tf_function,
    "tf.function, fused BatchNorm": tf_function_fused,
    "LiteRT, XNNPACK": litert,
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
    "OpenVINO, bfloat16": openvino_bfloat16,
}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """start_s: from the start of the process to its first scores. memory_mb: PSS, after the first and at the end."""
    posters, expected = np.load(folder / "posters.npy"), np.load(folder / "expected.npy")
    process = psutil.Process()
    scores = RUNTIMES[name](folder)
    scores(posters[:1])
    start_s = time.time() - process.create_time()
    idle_mb = process.memory_full_info().pss / 1e6
    difference = float(np.abs(scores(posters) - expected).max())
    ms = []
    for count in BATCHES:
        batch = posters[:count]
        scores(batch)
        taken: list[float] = []
        while sum(taken) < _SECONDS or len(taken) < 3:
            began = time.perf_counter()
            scores(batch)
            taken.append(time.perf_counter() - began)
        ms.append(1000 * median(taken) / count)
    return {
        "start_s": start_s,
        "idle_mb": idle_mb,
        "memory_mb": process.memory_full_info().pss / 1e6,
        "difference": difference,
        "ms": ms,
    }


def convert(expression: str, folder: Path, posters: Path) -> dict[str, str]:
    """Make the model and each runtime's form of it; the runtimes that cannot take it, and why."""
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    from cluster.settings import load_settings  # noqa: PLC0415
    from training.export import export  # noqa: PLC0415
    from training.network import build_network  # noqa: PLC0415
    from training.parts import default_recipe, parts_of  # noqa: PLC0415

    keras.utils.set_random_seed(0)
    if expression.endswith(".keras"):
        model = keras.saving.load_model(expression, compile=False)
    else:
        takes_weights = all(part.architecture.takes_weights for part in parts_of(expression))
        weights = load_settings().weights if takes_weights else "none"
        model = build_network(expression, genres=25, recipe=default_recipe(expression), weights=weights).model
    model.save(folder / "model.keras")
    images = _pixels(posters, *model.input_shape[1:3])
    np.save(folder / "posters.npy", images)
    np.save(folder / "expected.npy", np.asarray(model(images.astype(np.float32), training=False)))
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")

    def scores(batch: Any) -> Any:
        return model(tf.cast(batch, tf.float32), training=False)

    failed = {}

    def to_onnx() -> None:
        import tf2onnx  # noqa: PLC0415

        traced = tf.function(scores, input_signature=[spec])
        tf2onnx.convert.from_function(traced, [spec], opset=17, output_path=str(folder / "model.onnx"))

    def to_litert() -> None:
        # Of a traced function alone the converter leaves Keras's variables out, and LiteRT answers NaN.
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", scores, [spec])
        archive.write_out(str(folder / "saved_model"), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
        (folder / "model.tflite").write_bytes(converter.convert())

    makers = {
        "OpenVINO": lambda: export(model, folder),
        "ONNX Runtime": to_onnx,
        "LiteRT, XNNPACK": to_litert,
    }
    for name, make in makers.items():
        try:
            make()
        except Exception as error:  # whatever a converter raises
            failed[name] = " ".join(str(error).split())
    return failed


def _pixels(posters: Path, height_px: int, width_px: int) -> Any:
    from PIL import Image  # noqa: PLC0415

    from training.preprocessing import to_pixels  # noqa: PLC0415

    files = sorted(posters.glob("*.jpg"))[: max(BATCHES)]
    return np.stack([to_pixels(Image.open(file), height_px=height_px, width_px=width_px) for file in files])


def _keras(folder: Path) -> Any:
    import keras  # noqa: PLC0415

    return keras.saving.load_model(folder / "model.keras", compile=False)


def main() -> None:
    """Print the figures, or what `convert` says, as the last line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = Path(sys.argv[2])
    found = (
        convert(sys.argv[3], folder, Path(sys.argv[4])) if sys.argv[1] == "convert" else measure(sys.argv[1], folder)
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
