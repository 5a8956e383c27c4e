"""One at a time: a lease in the store, which a holder renews and which ends by itself when the holder dies.

    pipelines/<name>/lease/00000012.json    the newest number holds; the next one who may takes the number after it

The number is taken by a put that fails where the object is there already, so of two at once one wins; nobody ever
overwrites or deletes another's that is alive. On a store without such puts the winner is who finds its own words there
a moment later. The clocks of the machines have to agree to within a minute.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from types import TracebackType
from typing import Any

import psutil

from cluster.errors import ClusterError, KeyExistsError, KeyNotFoundError, StoreError
from cluster.store import Store

log = logging.getLogger(__name__)

LEASE_S = 90.0
_BEAT_S = 15.0
_SETTLE_S = 1.0


class BusyError(ClusterError):
    """Somebody else holds the lease."""


class LostError(ClusterError):
    """Somebody else has taken the lease over, and goes on with what its holder did."""


class Lease:
    """Held within its `with` block. Raises BusyError on entering, where somebody else holds it.

    folder: of the store, ending with /. A holder on this machine whose process is gone holds nothing any more; one
    elsewhere holds until `lease_s` after it was last heard of.
    """

    def __init__(
        self, store: Store, folder: str, *, what: str, lease_s: float = LEASE_S, beat_s: float = _BEAT_S
    ) -> None:
        self._store, self._folder, self._what = store, folder, what
        self._lease_s, self._beat_s = lease_s, beat_s
        self._mine = {"token": secrets.token_hex(8), **_here(), "began_at": time.time()}
        self._number = 0
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Lease:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=self._beat_s)
        if not self._lost.is_set():
            # A lease that could not be given back ends by itself.
            with contextlib.suppress(StoreError):
                self._write(released=True)

    def check(self) -> None:
        """Raise LostError where somebody else took over, as after this machine was asleep for long."""
        if self._lost.is_set():
            raise LostError(f"another run of {self._what} took over, as this one was not heard of; it goes on there")

    def _take(self) -> None:
        newest = self._newest()
        if newest is not None:
            held = self._read(newest)
            if held is not None and self._is_alive(held):
                raise self._busy(held)
            self._number = newest
        self._number += 1
        try:
            self._write(if_absent=True)
        except KeyExistsError as error:
            raise self._busy(self._read(self._number)) from error
        if not self._store.is_local:
            time.sleep(_SETTLE_S)
            if not self._is_mine():
                raise self._busy(self._read(self._number))
        # Where this process slept between looking and taking, others may have had the number and cleared it away.
        if (newest := self._newest() or 0) > self._number:
            self._store.delete(self._key(self._number))
            raise self._busy(self._read(newest))
        for number in range(self._number - 1, 0, -1):
            if not self._store.exists(self._key(number)):
                break
            self._store.delete(self._key(number))

    def _renew(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                if not self._is_mine() or (self._newest() or 0) > self._number:
                    self._lost.set()
                    return
                self._write()
            except StoreError as error:  # nobody else can take it either, while the store is away
                log.debug("the lease %s cannot be renewed: %s", self._key(self._number), error)

    def _is_mine(self) -> bool:
        held = self._read(self._number)
        return held is not None and held.get("token") == self._mine["token"]

    def _is_alive(self, held: dict[str, Any]) -> bool:
        if held.get("released") or time.time() - float(held.get("renewed_at", 0)) > self._lease_s:
            return False
        if held.get("host") != self._mine["host"]:
            return True
        try:
            return abs(psutil.Process(int(held["pid"])).create_time() - float(held["pid_began"])) < 1
        except (psutil.NoSuchProcess, KeyError, ValueError):
            return False

    def _busy(self, held: dict[str, Any] | None) -> BusyError:
        held = held or {}
        since = time.strftime("%H:%M:%S UTC", time.gmtime(float(held.get("began_at", time.time()))))
        where = f"{str(held.get('host', '?')).partition(' ')[0]}, process {held.get('pid', '?')}"
        return BusyError(f"{self._what} runs already, since {since} on {where}; this call leaves it alone")

    def _newest(self) -> int | None:
        numbers = [int(key.rpartition("/")[2].removesuffix(".json")) for key in self._store.list(self._folder)]
        return max(numbers, default=None)

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._store.get(self._key(number)))
        except (KeyNotFoundError, ValueError):
            return None
        return found

    def _write(self, *, if_absent: bool = False, released: bool = False) -> None:
        told = {**self._mine, "renewed_at": time.time(), "released": released}
        data = json.dumps(told).encode()
        self._store.put(self._key(self._number), data, content_type="application/json", if_absent=if_absent)

    def _key(self, number: int) -> str:
        return f"{self._folder}{number:08}.json"


def _here() -> dict[str, Any]:
    """This process, so that another one on the same machine can tell whether it lives."""
    space = ""
    with contextlib.suppress(OSError):
        # Containers may share a host's name, and then not its processes' numbers.
        space = f" {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    return {
        "host": f"{socket.gethostname()}{space}",
        "pid": os.getpid(),
        "pid_began": psutil.Process().create_time(),
    }
