"""Processes of their own that decode pictures: the other cores get work, and hostile bytes never meet the crawl.

Each is fed and read over a socket pair, in order (`crawler.decoder_process`). A decoder that dies over a picture (a
crash in a C library, its limit of memory) costs that picture, which is `corrupt`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque

from crawler.decoder_process import LENGTH, from_json
from crawler.outcomes import PosterFacts, Reason, Rejected

_COMMAND = ("-m", "crawler.decoder_process")


class Decoders:
    """`inspect` in other processes, for an event loop; without processes, in this one."""

    def __init__(self, processes: int, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._decoders = [_Decoder(max_pixels) for _ in range(processes)]

    async def inspect(self, data: bytes) -> PosterFacts | Rejected:
        """What `crawler.images.inspect` says of the bytes."""
        if not self._decoders:
            from crawler import images  # noqa: PLC0415  a crawl with decoders needs no Pillow of its own

            return images.inspect(data, max_pixels=self._max_pixels)
        return await min(self._decoders, key=lambda decoder: decoder.waiting).inspect(data)

    async def close(self) -> None:
        """End the processes."""
        for decoder in self._decoders:
            await decoder.close()


class _Decoder:
    """One process, started at once, for its imports take as long as those of the crawl, and again where it died."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._process, self._socket = self._launch()
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
                writer = await self._connect()
            answer: asyncio.Future[PosterFacts | Rejected] = asyncio.get_running_loop().create_future()
            self._answers.append(answer)
            # Together: each write is a system call, and wakes the other end.
            writer.writelines((LENGTH.pack(len(data)), data))
            if alone:
                return await answer
        return await answer

    def _launch(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, *_COMMAND, str(theirs.fileno()), str(self._max_pixels)]
            search = os.pathsep.join(filter(None, [*sys.path]))
            process = subprocess.Popen(  # noqa: S603
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search},
                # Ctrl-C is for the crawl, which still needs what is under way.
                start_new_session=True,
            )
        return process, ours

    async def _connect(self) -> asyncio.StreamWriter:
        if self._writer is not None:
            self._process, self._socket = self._launch()
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._reading = asyncio.ensure_future(self._read(reader, self._writer))
        return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                answer = from_json(await reader.readexactly(size))
                asked = self._answers.popleft()
                if not asked.done():
                    asked.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            self._process.wait()
            waiting, self._answers = self._answers, deque()
            for each in waiting:
                if not each.done():
                    each.set_exception(ConnectionError("the decoder died"))

    async def close(self) -> None:
        self._process.terminate()
        if self._writer:
            self._writer.close()
        else:
            self._socket.close()
        if self._reading:
            await asyncio.wait([self._reading])
        self._process.wait()
