"""Namespaces that reach each other until they are cut off, and are gone without a trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from cluster.testbed.network import Network, NetworkRefusedError, make_network

_LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 5000))
print("listens", flush=True)
while True:
    server.accept()[0].close()
"""
_KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], 5000), timeout=0.5)"


@pytest.fixture
def network() -> Iterator[Network]:
    """With two nodes besides the head, of which the first listens on port 5000."""
    try:
        found = make_network()
    except NetworkRefusedError as error:
        pytest.skip(str(error))
    try:
        found.add(2)
        found.add(3)
        command = [*found.enter(2), sys.executable, "-c", _LISTEN, found.address(2)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout
            assert server.stdout.readline() == b"listens\n"
            yield found
            server.kill()
    finally:
        found.remove([2, 3])


def reaches(network: Network, place: int) -> bool:
    """Whether a node reaches the one that listens, without being refused."""
    command = [*network.enter(place), sys.executable, "-c", _KNOCK, network.address(2)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0 or "TimeoutError" in done.stderr or "No route to host" in done.stderr, done.stderr
    return done.returncode == 0


def test_a_node_that_is_unplugged_reaches_nobody_until_it_is_plugged_in(network: Network) -> None:
    assert reaches(network, 1)
    assert reaches(network, 3)
    network.unplug(2)
    assert not reaches(network, 1)
    assert not reaches(network, 3)
    network.plug(2)
    assert reaches(network, 1)
    assert reaches(network, 3)


def test_two_nodes_that_are_parted_still_reach_the_head(network: Network) -> None:
    network.part(2, 3)
    assert not reaches(network, 3)
    assert reaches(network, 1)
    network.rejoin(2, 3)
    assert reaches(network, 3)


def test_a_node_can_be_parted_from_the_head(network: Network) -> None:
    network.part(1, 2)
    assert not reaches(network, 1)
    assert reaches(network, 3)
    network.rejoin(1, 2)
    assert reaches(network, 1)


def test_a_node_knows_its_processes_and_no_others(network: Network) -> None:
    names = [psutil.Process(number).cmdline()[-1] for number in network.processes(2)]
    assert names == [network.address(2)]
    assert network.processes(3) == []


def test_networks_beside_each_other_are_different_and_leave_nothing(network: Network) -> None:
    other = make_network()
    other.add(2)
    assert other.number != network.number
    assert f"onesheet{other.number}" in psutil.net_if_addrs()
    for _ in range(2):
        other.remove([2])
        assert f"onesheet{other.number}" not in psutil.net_if_addrs()
        with pytest.raises(NetworkRefusedError):
            other.processes(2)
    assert reaches(network, 3)
