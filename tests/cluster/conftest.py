"""What the tests of Ray nodes and jobs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.nodes import LocalCluster, local_cluster

_RAY_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "ONESHEET_RAY_ADDRESS")


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster of the person who runs the tests."""
    for name in _RAY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def ray_head() -> Iterator[LocalCluster]:
    """A real head node with a job server and two CPUs."""
    with local_cluster(num_cpus=2) as cluster:
        yield cluster
