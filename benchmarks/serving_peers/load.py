"""The load: wrk's callers, each of whom asks again as soon as it is answered, over connections that stay open."""

from __future__ import annotations

import base64
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_BOUNDARY = "onesheet-benchmark"
_SCRIPT = Path(__file__).with_name("posters.lua")
_TIMEOUT_S = 60


def why_no_wrk() -> str | None:
    """What is missing, or None."""
    if shutil.which("wrk"):
        return None
    return "no wrk: install it (apt-get install wrk) and run this again"


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers saw. refused: answers other than 200. broken: connections and time-outs. own_cpu_s: wrk's."""

    wall_s: float
    answers: int
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    own_cpu_s: float


@dataclass(frozen=True, slots=True)
class Requests:
    """Bodies in files, and what they are."""

    content_type: str
    files: tuple[Path, ...]


def requests(posters: list[bytes], folder: Path, *, as_json: bool = False) -> Requests:
    """Each poster as a multipart body with the field `image`, or as base64 in JSON, written to the folder."""
    folder.mkdir(exist_ok=True)
    make, content_type = (
        (_json, "application/json") if as_json else (_multipart, f"multipart/form-data; boundary={_BOUNDARY}")
    )
    files = tuple(folder / f"{number:04d}" for number in range(len(posters)))
    for file, poster in zip(files, posters, strict=True):
        file.write_bytes(make(poster))
    return Requests(content_type, files)


def press(url: str, sent: Requests, *, concurrency: int, seconds: int) -> Load:
    """Ask for so long."""
    callers = ["-t", "1", "-c", str(concurrency), "-d", f"{seconds}s", "--timeout", f"{_TIMEOUT_S}s"]
    command = ["wrk", *callers, "-s", str(_SCRIPT), url, "--", sent.content_type, *map(str, sent.files)]
    before = _children_cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"wrk: {(done.stderr or done.stdout).strip()}")
    return Load(**json.loads(done.stderr), own_cpu_s=_children_cpu_s() - before)


def _multipart(poster: bytes) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="poster.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + poster + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _json(poster: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(poster).decode()}).encode()


def _children_cpu_s() -> float:
    """Of children that have ended: between two calls, of the one that was run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
