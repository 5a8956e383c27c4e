"""The follower: the served model moves with the pointer, and never to something that does not load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.errors import StoreError
from serving.follower import Follower
from tests.serving.conftest import Register
from training.registry import Registry


@pytest.fixture
def follower(registry: Registry) -> Follower:
    return Follower(registry, poll_interval_s=0.05, max_pixels=100_000)


def served(follower: Follower) -> str | None:
    return follower.predictor.card.version if follower.predictor else None


def refused(follower: Follower) -> str | None:
    return follower.refused.version if follower.refused else None


@contextmanager
def damaged(registry: Registry, version: str) -> Iterator[None]:
    key = f"models/{version}/model.keras"
    whole = registry.store.get(key)
    registry.store.put(key, b"damaged")
    yield
    registry.store.put(key, whole)


def test_a_promotion_is_followed_in_the_background(follower: Follower, registry: Registry, register: Register) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower.start()
    try:
        assert served(follower) == "v1"
        registry.promote("v2")
        deadline = time.monotonic() + 20
        while served(follower) != "v2" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert served(follower) == "v2"
    finally:
        follower.stop()


def test_without_a_production_model_it_waits(follower: Follower, registry: Registry, register: Register) -> None:
    follower.poll()
    assert served(follower) is None
    register("v1")
    registry.promote("v1")
    follower.poll()
    assert served(follower) == "v1"


def test_a_version_that_does_not_load_is_refused_until_promoted_anew(
    follower: Follower, registry: Registry, register: Register
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower.poll()
    with damaged(registry, "v2"):
        registry.promote("v2")
        follower.poll()
    assert served(follower) == "v1"
    assert refused(follower) == "v2"
    assert "altered" in str(follower.refused)
    follower.poll()
    assert served(follower) == "v1", "a refused promotion is not tried again at every poll"
    registry.rollback()
    follower.poll()
    assert refused(follower) is None
    registry.promote("v2")
    follower.poll()
    assert served(follower) == "v2"


def test_a_replica_that_starts_on_a_broken_version_serves_the_one_before(
    follower: Follower, registry: Registry, register: Register
) -> None:
    for version in ("v1", "v2"):
        register(version)
        registry.promote(version)
    with damaged(registry, "v2"):
        follower.poll()
    assert served(follower) == "v1"
    assert refused(follower) == "v2"


def test_an_outage_of_the_store_keeps_the_model_and_passes(
    follower: Follower,
    registry: Registry,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower.poll()
    registry.promote("v2")
    with monkeypatch.context() as outage:

        def unreachable(version: str, folder: object) -> None:
            raise StoreError("the store is away")

        outage.setattr(registry, "fetch", unreachable)
        follower.poll()
        follower.poll()
    assert served(follower) == "v1"
    assert refused(follower) is None
    assert caplog.text.count("the store is away") == 1
    follower.poll()
    assert served(follower) == "v2"
