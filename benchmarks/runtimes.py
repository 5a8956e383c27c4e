"""Milliseconds a poster, memory and start of seven runtimes on this machine's CPU, and how far from Keras they score.

    python -m benchmarks.runtimes [--only NAME …] [--model EXPRESSION|FILE.keras …] [--json FILE]

Each runs in a process of its own, with a thread a core, on the same posters; the model alone is timed, not decoding.
Backbones have the weights of ONESHEET_WEIGHTS where that is set, and a head without training; a trained model is given
as its file, `model.keras` of a bundle. LiteRT and ONNX Runtime are installed by pip into a folder below --peers-folder.

- start: seconds from the start of the process to its first scores;
- idle, peak memory: PSS after these, and after batches of 16;
- difference: the largest of any score from `model(…)` of Keras.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.crawl_peers import material
from benchmarks.runtime_peers.one import BATCHES, RUNTIMES

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

_PACKAGES = Path(__file__).resolve().parent / "runtime_peers" / "packages.txt"
MODELS = (
    "cnn_4block_bn",
    "mobilenet_v2",
    "efficientnet_lite2",
    "efficientnet_lite2@384x256+mobilenet_v2@224x160",
)
_LIMIT_S = 200
# Characters of what a runtime says when it does not take a model.
_REASON = 400


def main(
    only: Annotated[list[str] | None, typer.Option(help="These runtimes, by their names.", show_default=False)] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="These models, as of `onesheet train`, or files of Keras.", show_default=False),
    ] = None,
    peers_folder: Annotated[
        Path, typer.Option(help="Where the other runtimes are installed.", show_default=False)
    ] = Path("~/.cache/onesheet-benchmarks"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.", show_default=False)
    ] = None,
) -> None:
    """Measure the runtimes."""
    if unknown := set(only or ()) - set(RUNTIMES):
        sys.exit(f"no runtime is named {' or '.join(sorted(unknown))}: there are {', '.join(RUNTIMES)}")
    packages = _installed(peers_folder.expanduser() / "runtimes")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="onesheet-benchmark-") as name:
        posters = material.find(max(BATCHES), Path(name) / "posters")
        for expression in model or MODELS:
            folder = Path(name) / str(len(found))
            folder.mkdir()
            failed = _asked("convert", folder, packages, expression, str(posters.folder))
            found[expression] = {}
            for runtime in only or RUNTIMES:
                reason = failed.get("failed") or failed.get(_converted(runtime))
                found[expression][runtime] = {"failed": reason} if reason else _asked(runtime, folder, packages)
            shutil.rmtree(folder)
            _show(expression, found[expression])
    console.print(f"\n$ {shlex.join(['python', '-m', 'benchmarks.runtimes', *sys.argv[1:]])}")
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {_cpu()}; {posters.origin}")
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n")


def _asked(runtime: str, folder: Path, packages: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.runtime_peers.one", runtime, str(folder), *more]
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), str(packages)])
    environment = {**os.environ, "PYTHONPATH": path}
    try:
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {_LIMIT_S} s"}
    if ran.returncode:
        return {"failed": (ran.stderr.strip().splitlines() or ["no word"])[-1]}
    answer: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return answer


def _converted(runtime: str) -> str:
    """The runtime whose form of the model this one reads."""
    return runtime.partition(", bfloat16")[0]


def _show(expression: str, figures: dict[str, dict[str, Any]]) -> None:
    columns = [f"ms a poster, batch {count}" for count in BATCHES]
    table = Table(expression, *columns, "start s", "idle MB", "peak MB", "difference", box=box.MARKDOWN)
    for name, row in figures.items():
        if "failed" in row:
            table.add_row(name, "-")
            continue
        sizes = (f"{row['start_s']:.1f}", f"{row['idle_mb']:.0f}", f"{row['memory_mb']:.0f}")
        table.add_row(name, *(f"{ms:.1f}" for ms in row["ms"]), *sizes, f"{row['difference']:.0e}")
    console.print(table)
    for name, row in figures.items():
        if "failed" in row:
            console.print(f"{name}: {row['failed'][:_REASON]}", markup=False)


def _installed(home: Path) -> Path:
    """A folder for PYTHONPATH with the other runtimes; what they need besides is onesheet's already."""
    done = home / "packages.txt"
    if not done.is_file() or done.read_bytes() != _PACKAGES.read_bytes():
        shutil.rmtree(home, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(home), "-r", str(_PACKAGES)], check=True)
        shutil.copyfile(_PACKAGES, done)
    return home


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return ", ".join([name, *(flag for flag in ("avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags)])


if __name__ == "__main__":
    typer.run(main)
