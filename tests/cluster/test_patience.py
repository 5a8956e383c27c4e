"""A store that is away for a while: who works long waits for it, who looks in is told at once."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cluster.errors import StoreUnavailableError
from cluster.store import Store, open_store
from tests.crawler.outages import Gate, gate
from tests.fixtures_s3 import fresh_bucket
from tests.s3_servers import S3Server

# Longer than the client's own four tries take.
AWAY_S = 10


@pytest.fixture
def away(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Gate]]:
    """A store with an object, and the gate in front of it."""
    with gate(moto_server.endpoint_url) as found:
        store = open_store(fresh_bucket(replace(moto_server, endpoint_url=found.url), monkeypatch))
        store.put("a/one", b"1")
        yield store, found


@contextmanager
def closed_for(gate: Gate, seconds: float) -> Iterator[None]:
    gate.close()
    opener = threading.Timer(seconds, gate.open)
    opener.start()
    try:
        yield
    finally:
        opener.join()


def test_a_patient_store_waits_with_every_call(away: tuple[Store, Gate]) -> None:
    store, gate = away
    patient = pickle.loads(pickle.dumps(store.patient()))
    calls: list[Callable[[], object]] = [
        lambda: patient.get("a/one"),
        lambda: patient.put("a/two", b"2"),
        lambda: list(patient.list("a/")),
        lambda: list(patient.folders("")),
        lambda: patient.exists("a/one"),
        lambda: patient.open("a/one").read(),
        lambda: patient.delete("a/three"),
    ]
    results: list[object] = []
    with closed_for(gate, AWAY_S):
        threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert results == []
    for thread in threads:
        thread.join()
    assert len(results) == len(calls)
    assert store.get("a/two") == b"2"


def test_others_are_told_at_once(away: tuple[Store, Gate]) -> None:
    store, gate = away
    gate.close()
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        store.get("a/one")
    gate.open()
    assert store.get("a/one") == b"1"
