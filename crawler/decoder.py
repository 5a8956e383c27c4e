"""Processes of their own that decode pictures: the other cores get work, and hostile bytes never meet the crawl.

Each is fed and read over a socket pair, in order: a frame is four bytes of length and that many bytes. A decoder that
dies over a picture (a crash in a C library, its limit of memory) costs that picture, which is `corrupt`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import sys
from collections import deque
from dataclasses import asdict
from typing import Any

from crawler import images
from crawler.outcomes import PosterFacts, Reason, Rejected

_LENGTH = struct.Struct("!I")
_COMMAND = ("-m", "crawler.decoder")
# A picture of max_pixels in full colour, its scaled copies, and the interpreter with its libraries.
_BYTES_A_PIXEL = 16
_BASE_BYTES = 2 * 2**30


class Decoders:
    """`inspect` in other processes, for an event loop; without processes, in this one."""

    def __init__(self, processes: int, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._decoders = [_Decoder(max_pixels) for _ in range(processes)]

    async def inspect(self, data: bytes) -> PosterFacts | Rejected:
        """What `crawler.images.inspect` says of the bytes."""
        if not self._decoders:
            return images.inspect(data, max_pixels=self._max_pixels)
        return await min(self._decoders, key=lambda decoder: decoder.waiting).inspect(data)

    async def close(self) -> None:
        """End the processes."""
        for decoder in self._decoders:
            await decoder.close()


class _Decoder:
    """One process, started with its first picture, and again where it died."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answers: deque[asyncio.Future[PosterFacts | Rejected]] = deque()
        self._asking = asyncio.Lock()

    @property
    def waiting(self) -> int:
        return len(self._answers)

    async def inspect(self, data: bytes) -> PosterFacts | Rejected:
        try:
            return await self._ask(data)
        except ConnectionError:
            # It died over this picture, or over one before it: asked alone it is known which.
            pass
        try:
            return await self._ask(data, alone=True)
        except ConnectionError:
            return Rejected(Reason.CORRUPT, "the decoder died over it")

    async def _ask(self, data: bytes, *, alone: bool = False) -> PosterFacts | Rejected:
        async with self._asking:
            if alone and self._answers:
                # One that was asked between the death and now may be deadly too.
                await asyncio.wait(self._answers)
            writer = self._writer
            if writer is None or writer.is_closing():
                writer = await self._start()
            answer: asyncio.Future[PosterFacts | Rejected] = asyncio.get_running_loop().create_future()
            self._answers.append(answer)
            writer.write(_LENGTH.pack(len(data)))
            writer.write(data)
            if alone:
                return await answer
        return await answer

    async def _start(self) -> asyncio.StreamWriter:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, *_COMMAND, str(theirs.fileno()), str(self._max_pixels)]
            search = os.pathsep.join(filter(None, [*sys.path]))
            self._process = subprocess.Popen(  # noqa: S603
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search},
                # Ctrl-C is for the crawl, which still needs what is under way.
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.ensure_future(self._read(reader, self._writer))
        return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                answer = _from_json(await reader.readexactly(size))
                self._answers.popleft().set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            if self._process:
                self._process.wait()
            waiting, self._answers = self._answers, deque()
            for each in waiting:
                if not each.done():
                    each.set_exception(ConnectionError("the decoder died"))

    async def close(self) -> None:
        if self._writer:
            self._writer.close()
        if self._process:
            self._process.terminate()
        if self._reading:
            await asyncio.wait([self._reading])


def serve(pictures: socket.socket, *, max_pixels: int) -> None:
    """Answer one picture after the other until the other end is closed."""
    stream = pictures.makefile("rwb", buffering=1 << 20)
    while head := stream.read(_LENGTH.size):
        data = stream.read(_LENGTH.unpack(head)[0])
        said = _as_json(images.inspect(data, max_pixels=max_pixels))
        stream.write(_LENGTH.pack(len(said)) + said)
        stream.flush()


def _as_json(outcome: PosterFacts | Rejected) -> bytes:
    # JSON and not pickle: what decodes hostile bytes must not be able to run code where it answers.
    return json.dumps(asdict(outcome)).encode()


def _from_json(said: bytes) -> PosterFacts | Rejected:
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
