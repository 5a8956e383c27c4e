"""The other end of `crawler.decoder`: a process that verifies one picture after the other."""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
from dataclasses import asdict
from typing import Any

from crawler.outcomes import PosterFacts, Reason, Rejected

# A frame is its length and that many bytes.
LENGTH = struct.Struct("!I")
# A picture of max_pixels in full colour, its scaled copies, and the interpreter with its libraries.
_BYTES_A_PIXEL = 16
_BASE_BYTES = 2 * 2**30


def serve(pictures: socket.socket, *, max_pixels: int) -> None:
    """Answer one picture after the other until the other end is closed."""
    # Here and not above: the crawl itself imports this module, and has no need of Pillow.
    from crawler import images  # noqa: PLC0415

    stream = pictures.makefile("rwb", buffering=1 << 20)
    while head := stream.read(LENGTH.size):
        data = stream.read(LENGTH.unpack(head)[0])
        said = as_json(images.inspect(data, max_pixels=max_pixels))
        stream.write(LENGTH.pack(len(said)) + said)
        stream.flush()


def as_json(outcome: PosterFacts | Rejected) -> bytes:
    """An outcome as it travels. JSON and not pickle: what decodes hostile bytes must not run code where it answers."""
    return json.dumps(asdict(outcome)).encode()


def from_json(said: bytes) -> PosterFacts | Rejected:
    """What `as_json` was given."""
    known: dict[str, Any] = json.loads(said)
    if "reason" in known:
        return Rejected(Reason(known["reason"]), known["detail"])
    return PosterFacts(**known)


def main() -> None:
    """Decode what comes over the socket that the last two arguments name: its descriptor, the limit of pixels."""
    descriptor, max_pixels = (int(argument) for argument in sys.argv[-2:])
    limit = _BASE_BYTES + max_pixels * _BYTES_A_PIXEL
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with socket.socket(fileno=descriptor) as pictures:
        try:
            serve(pictures, max_pixels=max_pixels)
        except (BrokenPipeError, ConnectionResetError):
            return  # the crawl is gone


if __name__ == "__main__":
    main()
