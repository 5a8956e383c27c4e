"""A network of our own on this machine: a bridge, and a namespace with an address for each node but the head.

The head stays in the machine's own namespace, at the bridge's address, so that commands of this machine join the
cluster as drivers. Needs Linux, `ip` and root's rights.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.errors import ClusterError

_MOST_NETWORKS = 250
_HEAD = 1
_TRIAL = 254
# A neighbour that there is not: frames to it are lost without a word, as on a broken line.
_NOBODY = "02:00:00:00:00:01"


class NetworkRefusedError(ClusterError):
    """This machine does not let us make networks."""


@dataclass(frozen=True, slots=True)
class Network:
    """10.77.<number>.0/24; places on it count from 1, which is the head's."""

    number: int

    @property
    def _bridge(self) -> str:
        return f"onesheet{self.number}"

    def _link(self, place: int) -> str:
        return f"os{self.number}-{place}"

    def namespace(self, place: int) -> str:
        """The name of a node's namespace."""
        return f"onesheet-{self.number}-{place}"

    def address(self, place: int) -> str:
        """A node's address, which every other node and this machine reach."""
        return f"10.77.{self.number}.{place}"

    def enter(self, place: int) -> list[str]:
        """What to put before a command that is to run on a node; the head needs nothing."""
        return [] if place == _HEAD else ["ip", "netns", "exec", self.namespace(place)]

    def add(self, place: int) -> None:
        """A namespace, joined to the bridge. Raises NetworkRefusedError."""
        namespace, link = self.namespace(place), self._link(place)
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", link, "master", self._bridge, "up")
        inside = ("-n", namespace)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "addr", "add", f"{self.address(place)}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        # By the route to the world Ray finds out its address; there is no way there beyond this machine.
        _ip(*inside, "route", "add", "default", "via", self.address(_HEAD))

    def processes(self, place: int) -> list[int]:
        """The ids of the processes on a node that is not the head."""
        return [int(number) for number in _ip("netns", "pids", self.namespace(place)).split()]

    def unplug(self, place: int) -> None:
        """Nothing reaches a node any more, nor leaves it."""
        _ip("link", "set", self._link(place), "down")

    def plug(self, place: int) -> None:
        """Undo `unplug`."""
        _ip("link", "set", self._link(place), "up")

    def part(self, place: int, other: int) -> None:
        """Nothing goes between two nodes any more; both still reach the others."""
        for here, there in ((place, other), (other, place)):
            words = ("neigh", "replace", self.address(there), "lladdr", _NOBODY, "dev", self._device(here))
            _ip(*self._inside(here), *words, "nud", "permanent")

    def rejoin(self, place: int, other: int) -> None:
        """Undo `part`."""
        for here, there in ((place, other), (other, place)):
            with contextlib.suppress(NetworkRefusedError):
                _ip(*self._inside(here), "neigh", "del", self.address(there), "dev", self._device(here))

    def remove(self, places: Sequence[int]) -> None:
        """Without its processes, which end before; what is gone already is no error."""
        for place in places:
            with contextlib.suppress(NetworkRefusedError):
                _ip("netns", "del", self.namespace(place))
            # The pair goes with the namespace, but only once the kernel gets round to it.
            with contextlib.suppress(NetworkRefusedError):
                _ip("link", "del", self._link(place))
        with contextlib.suppress(NetworkRefusedError):
            _ip("link", "del", self._bridge)

    def _device(self, place: int) -> str:
        return self._bridge if place == _HEAD else "eth0"

    def _inside(self, place: int) -> tuple[str, ...]:
        return () if place == _HEAD else ("-n", self.namespace(place))


def make_network() -> Network:
    """A bridge that nobody else has, with the head's address. Raises NetworkRefusedError."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        raise NetworkRefusedError("network namespaces need Linux and the command `ip` (package iproute2)")
    for number in range(1, _MOST_NETWORKS):
        network = Network(number)
        try:
            _ip("link", "add", network._bridge, "type", "bridge")
        except NetworkRefusedError as error:
            if "File exists" in str(error):
                continue
            raise
        try:
            _ip("addr", "add", f"{network.address(_HEAD)}/24", "dev", network._bridge)
            _ip("link", "set", network._bridge, "up")
            # A container may allow bridges and no namespaces.
            network.add(_TRIAL)
            _ip("netns", "del", network.namespace(_TRIAL))
        except NetworkRefusedError:
            network.remove([_TRIAL])
            raise
        return network
    raise NetworkRefusedError(f"there are {_MOST_NETWORKS} networks of other clusters: onesheet cluster down --all")


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)  # noqa: S603, S607
    if done.returncode != 0:
        raise NetworkRefusedError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
