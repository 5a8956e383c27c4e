"""Two workers with one thread each against one process with two; and what makes a step itself faster on a CPU.

    python -m benchmarks.parallel workers [--steps 8] [--rounds 3]
    python -m benchmarks.parallel step [--steps 6] [--variant bfloat16]

Both train on posters of noise that lie in memory, so nothing waits for input. Each measurement is a process of its own,
and the contenders take turns. CPU time an image stands beside the images/s: on a machine that others use too it is the
steadier figure, and leaves out what a worker waits for the other.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

WARM_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a process trains, and how.

    batch_size: of this process. threads: None leaves TensorFlow's choice. environment: set before TensorFlow starts.
    """

    network: str = "cnn_4block_bn"
    height_px: int = 350
    width_px: int = 350
    batch_size: int = 32
    steps: int = 8
    threads: int | None = 2
    inter_threads: int | None = None
    precision: str = "float32"
    jit_compile: bool = False
    steps_per_execution: int = 1
    rewrite_to_bfloat16: bool = False
    fused_batch_norm: bool = True
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    "plain Keras BatchNorm": Setting(fused_batch_norm=False),
    "fused BatchNorm": Setting(),
    "… and oneDNN off": Setting(environment={"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "… and oneDNN multiplies in bfloat16": Setting(environment={"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}),
    "… and TensorFlow rewrites to bfloat16": Setting(rewrite_to_bfloat16=True),
    "… and mixed_bfloat16": Setting(precision="mixed_bfloat16"),
    "… and TensorFlow's own threads": Setting(threads=None),
    "… and one thread": Setting(threads=1),
    "… and one operation at a time": Setting(inter_threads=1),
    "… and steps_per_execution 4": Setting(steps_per_execution=4),
}


@app.command()
def workers(
    steps: Annotated[int, typer.Option(help="Timed steps of each process.")] = 8,
    rounds: Annotated[int, typer.Option(help="Turns of each contender; the best counts.")] = 3,
) -> None:
    """Two workers of one thread against one process of two threads on the same global batch of 32."""
    networks = {
        "cnn_4block_bn 350x350": Setting(steps=steps),
        "cnn_2x2_same 150x100": Setting(steps=4 * steps, network="cnn_2x2_same", height_px=150, width_px=100),
        "small 64x48": Setting(steps=20 * steps, network="small", height_px=64, width_px=48),
    }
    columns = ("images/s alone", "two workers", "ratio", "CPU ms an image alone", "two workers", "exchange, ms a step")
    table = Table("network", *columns, box=box.SIMPLE)
    for name, alone in networks.items():
        shared = replace(alone, batch_size=alone.batch_size // 2, threads=1)
        turns = [(_run([alone]), _run([shared, shared])) for _ in range(rounds)]
        single, double = (max((turn[at] for turn in turns), key=_images_per_s) for at in (0, 1))
        rates = _images_per_s(single), _images_per_s(double)
        exchange = min(result["exchange_ms"] for _, pair in turns for result in pair)
        table.add_row(
            name,
            f"{rates[0]:.1f}",
            f"{rates[1]:.1f}",
            f"{rates[1] / rates[0]:.2f}",
            *(f"{sum(result['cpu_ms'] for result in pair) / len(pair):.1f}" for pair in (single, double)),
            f"{exchange:.1f} ({single[0]['parameters'] / 1e6:.2f} M parameters)",
        )
    console.print(f"python -m benchmarks.parallel workers --steps {steps} --rounds {rounds}")
    console.print(table)


@app.command()
def step(
    steps: Annotated[int, typer.Option(help="Timed steps of each process.")] = 6,
    rounds: Annotated[int, typer.Option(help="Turns of each variant; the best counts.")] = 1,
    variant: Annotated[list[str] | None, typer.Option(help="Only these; by default all.")] = None,
) -> None:
    """`cnn_4block_bn` at 350x350, 32 images a step, on one process, varied."""
    chosen = variant or list(VARIANTS)
    turns = [{name: _run([replace(VARIANTS[name], steps=steps)])[0] for name in chosen} for _ in range(rounds)]
    best = {name: min((turn[name] for turn in turns), key=lambda result: result["wall_ms"]) for name in chosen}
    table = Table("variant", "ms an image", "CPU ms an image", "times as fast", "peak memory, GB", box=box.SIMPLE)
    for name, result in best.items():
        faster = best[chosen[0]]["wall_ms"] / result["wall_ms"]
        table.add_row(
            name, f"{result['wall_ms']:.1f}", f"{result['cpu_ms']:.1f}", f"{faster:.2f}", f"{result['peak_gb']:.1f}"
        )
    console.print(f"python -m benchmarks.parallel step --steps {steps} --rounds {rounds}")
    console.print(table)


@app.command(hidden=True)
def measure(setting: str) -> None:
    """What one process does: train, and print a line of JSON."""
    print(json.dumps(_measure(Setting(**json.loads(setting)))))


def _images_per_s(results: list[dict[str, float]]) -> float:
    return sum(1000 / result["wall_ms"] for result in results)


def _run(settings: list[Setting]) -> list[dict[str, float]]:
    """Measure in a process for each setting, all at the same time; as workers of one run where there are several."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in settings]
    members = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for rank, setting in enumerate(settings):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **setting.environment}
        if len(settings) > 1:
            task = {"type": "worker", "index": rank}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": members}, "task": task})
        command = [sys.executable, "-m", "benchmarks.parallel", "measure", json.dumps(asdict(setting))]
        processes.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path.cwd()
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"a process ended with exit codes {[process.returncode for process in processes]}: {settings[0]}")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def _measure(setting: Setting) -> dict[str, float]:
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    from training.fused import with_fused_batch_norm  # noqa: PLC0415
    from training.parallel import DataParallelModel, Workers  # noqa: PLC0415

    if setting.threads:
        tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    if setting.inter_threads:
        tf.config.threading.set_inter_op_parallelism_threads(setting.inter_threads)
    if setting.rewrite_to_bfloat16:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    members = Workers.from_tf_config()
    keras.config.set_dtype_policy(setting.precision)
    network = _network(setting)
    model = DataParallelModel(with_fused_batch_norm(network) if setting.fused_batch_norm else network, members)
    model.compile(
        "adam",
        "binary_crossentropy",
        jit_compile=setting.jit_compile or "auto",
        steps_per_execution=setting.steps_per_execution,
    )
    shape = (setting.batch_size, setting.height_px, setting.width_px, 3)
    batch = (tf.random.uniform(shape, maxval=255), tf.zeros((setting.batch_size, 25)))
    batches = tf.data.Dataset.from_tensors(batch).cache().repeat(setting.steps)
    model.fit(batches.take(max(WARM_UP, setting.steps_per_execution)), verbose=0)
    began, spent = time.perf_counter(), time.process_time()
    model.fit(batches, verbose=0)
    images = setting.steps * setting.batch_size
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    return {
        "wall_ms": 1000 * wall / images,
        "cpu_ms": 1000 * cpu / images,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "parameters": network.count_params(),
        "exchange_ms": _exchange_ms([v.value for v in model.trainable_variables], members),
    }


def _exchange_ms(tensors: list[Any], members: Any) -> float:
    """The time of one `reduce_mean` of such gradients, its flattening included; 0 alone."""
    import tensorflow as tf  # noqa: PLC0415

    from training.parallel import reduce_mean  # noqa: PLC0415

    if members.world_size == 1:
        return 0.0

    @tf.function
    def exchange() -> Any:
        return [tf.reduce_sum(mean) for mean in reduce_mean(tensors, members)]

    exchange()
    return median(_timed(exchange) for _ in range(10))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def _network(setting: Setting) -> Any:
    import keras  # noqa: PLC0415
    from keras import layers  # noqa: PLC0415

    from training.architecture import BuildOptions, find  # noqa: PLC0415

    if setting.network != "small":
        options = BuildOptions(genres=25, height_px=setting.height_px, width_px=setting.width_px)
        return find(setting.network).build(options)
    image = keras.Input((setting.height_px, setting.width_px, 3))
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(image)
    x = layers.Conv2D(32, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(25, activation="sigmoid")(x))


if __name__ == "__main__":
    app()
