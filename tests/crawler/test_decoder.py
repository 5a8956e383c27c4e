"""The decoders: real processes, also dying ones."""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal

import psutil
import pytest
from PIL import Image

from crawler import images
from crawler.decoder import Decoders, _Decoder
from crawler.outcomes import PosterFacts, Reason, Rejected
from tests.processes import titled

LIMIT = 1_000_000


def _picture(seed: int, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    noise = Image.frombytes("RGB", (20, 30), random.Random(seed).randbytes(1800)).resize((120, 180))
    noise.save(out, kind)
    return out.getvalue()


def _run(processes: int, pictures: list[bytes], *, kill_after: int | None = None) -> list[PosterFacts | Rejected]:
    async def all_of_them() -> list[PosterFacts | Rejected]:
        decoders = Decoders(processes, max_pixels=LIMIT)
        waiting = [asyncio.ensure_future(decoders.inspect(data)) for data in pictures]
        if kill_after is not None:
            await waiting[kill_after]
            for child in _children():
                child.send_signal(signal.SIGKILL)
        try:
            return list(await asyncio.gather(*waiting))
        finally:
            await decoders.close()

    found = asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert _children() == []
    return found


def _children() -> list[psutil.Process]:
    return titled("crawler.decoder_process", psutil.Process().children())


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_other_processes_say_what_this_one_would(processes: int) -> None:
    pictures = [_picture(seed, kind) for seed in range(12) for kind in ("JPEG", "PNG")]
    pictures += [b"", b"<html>", _picture(1)[:500], os.urandom(300_000)]
    assert _run(processes, pictures) == [images.inspect(data, max_pixels=LIMIT) for data in pictures]


def test_a_decoder_that_is_killed_is_started_again_and_no_picture_is_lost() -> None:
    pictures = [_picture(seed) for seed in range(300)]
    found = _run(1, pictures, kill_after=3)
    assert found == [images.inspect(data, max_pixels=LIMIT) for data in pictures]


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Stands for a crash in a C library: the process ends itself over exactly these bytes."""
    die = "os._exit(9) if b'deadly' in data else inspect(data, **limit)"
    hook = f"import os, crawler.images as i; inspect = i.inspect; i.inspect = lambda data, **limit: {die}"
    monkeypatch.setattr("crawler.decoder._COMMAND", ("-c", f"{hook}; import crawler.decoder_process as d; d.main()"))
    return b"\xff\xd8\xff" + b"deadly"


def test_a_picture_that_kills_every_decoder_is_corrupt_and_costs_no_other(deadly: bytes) -> None:
    pictures = [_picture(seed) for seed in range(6)]
    found = _run(1, [*pictures[:3], deadly, *pictures[3:]])
    assert found[3] == Rejected(Reason.CORRUPT, "the decoder died over it")
    assert all(isinstance(each, PosterFacts) for number, each in enumerate(found) if number != 3)


def test_a_picture_asked_again_pays_for_no_deadly_one_before_it(deadly: bytes) -> None:
    async def one_comes_at_the_death() -> list[PosterFacts | Rejected]:
        decoder = _Decoder(LIMIT)
        good = asyncio.ensure_future(decoder.inspect(_picture(1)))
        while not decoder.waiting:
            await asyncio.sleep(0)
        _children()[0].kill()
        while decoder.waiting:
            await asyncio.sleep(0)
        found = [await decoder.inspect(deadly), await good]
        await decoder.close()
        return found

    first, second = asyncio.run(asyncio.wait_for(one_comes_at_the_death(), 60))
    assert first == Rejected(Reason.CORRUPT, "the decoder died over it")
    assert isinstance(second, PosterFacts)
