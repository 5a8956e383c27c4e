"""One at a time, on every kind of store: among processes that race, die, sleep, and run elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.pipeline.lease import BusyError, Lease
from cluster.store import FolderStore, Store, open_store

FOLDER = "pipelines/nightly/lease/"
HOLD = """
import sys, time
from cluster.pipeline.lease import Lease
from cluster.store import open_store
with Lease(open_store(sys.argv[1]), "pipelines/nightly/lease/", what="pipeline nightly"):
    print("held", flush=True)
    time.sleep(60)
"""


def lease(store: Store, **how: float) -> Lease:
    return Lease(store, FOLDER, what="pipeline nightly", **how)


def check_for_long(held: Lease) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        held.check()
        time.sleep(0.01)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def state(store: Store) -> dict[str, object]:
    (key,) = list(store.list(FOLDER))
    found: dict[str, object] = json.loads(store.get(key))
    return found


def rewrite(store: Store, **changes: object) -> None:
    """Make the lease look as another machine's would."""
    (key,) = list(store.list(FOLDER))
    store.put(key, json.dumps({**state(store), **changes}).encode())


def test_a_second_holder_is_refused_and_told_who_holds_it(store: FolderStore):
    with (
        lease(store),
        pytest.raises(BusyError, match=r"pipeline nightly runs already, since .* process \d+"),
        lease(store),
    ):
        pass


def test_a_lease_that_was_given_back_is_free_and_leaves_one_object(store: FolderStore):
    for _ in range(3):
        with lease(store):
            pass
    assert state(store)["released"] is True


def test_an_error_within_gives_it_back(store: FolderStore):
    with pytest.raises(ClusterError), lease(store):
        raise ClusterError("a stage failed")
    with lease(store):
        pass


def test_a_killed_holder_on_this_machine_holds_nothing(store: FolderStore):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, store.url], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError), lease(store):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with lease(store):
        pass


def test_a_silent_holder_elsewhere_holds_until_its_time_is_over(store: FolderStore):
    with lease(store):
        pass
    rewrite(store, host="elsewhere", released=False, renewed_at=time.time() - 80)
    with pytest.raises(BusyError, match="on elsewhere"), lease(store):
        pass
    rewrite(store, renewed_at=time.time() - 100)
    with lease(store):
        pass


def test_it_is_renewed_while_it_is_held(store: FolderStore):
    with lease(store, beat_s=0.05):
        began = state(store)["renewed_at"]
        deadline = time.monotonic() + 10
        while state(store)["renewed_at"] == began:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_slept_too_long_learns_that_another_took_over_and_does_not_give_that_ones_back(store: FolderStore):
    with lease(store, beat_s=0.05) as first:
        first.check()
        store.put(f"{FOLDER}00000002.json", json.dumps({"token": "b", "host": "b", "renewed_at": time.time()}).encode())
        with pytest.raises(ClusterError, match="another run of pipeline nightly took over"):
            check_for_long(first)
    with pytest.raises(BusyError), lease(store):
        pass


def test_of_many_at_once_one_holds_on_every_s3_server(s3_url: str):
    store = open_store(s3_url)
    held: list[int] = []
    refused: list[int] = []
    start, end = threading.Barrier(5), threading.Event()

    def contend(number: int) -> None:
        start.wait()
        try:
            with lease(store):
                held.append(number)
                end.wait(30)
        except BusyError:
            refused.append(number)
            if len(refused) == 4:
                end.set()

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 4)
    with lease(store):
        pass
