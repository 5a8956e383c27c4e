"""The follower: the served model moves with the pointer, and never to something that does not load."""

from __future__ import annotations

import gc
import re
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import StoreError
from serving.follower import Follower
from serving.predictor import Predictor
from tests.serving.conftest import Poster, Register, tiny_model
from training.bundle import write_bundle
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


def refused_candidate(follower: Follower) -> str | None:
    return follower.refused_candidate.version if follower.refused_candidate else None


def tried(follower: Follower) -> tuple[str, float] | None:
    return (follower.canary.predictor.version, follower.canary.share) if follower.canary else None


def test_a_candidate_is_tried_on_its_share_until_it_is_stopped(
    follower: Follower, registry: Registry, register: Register
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    registry.canary("v2", 0.25)
    follower.poll()
    assert (served(follower), tried(follower)) == ("v1", ("v2", 0.25))
    loaded = follower.canary
    registry.canary("v2", 0.5)
    follower.poll()
    assert tried(follower) == ("v2", 0.5)
    assert loaded
    assert follower.canary
    assert follower.canary.predictor is loaded.predictor, "another share loads nothing anew"
    registry.stop_canary()
    follower.poll()
    assert (served(follower), tried(follower)) == ("v1", None)


def test_a_candidate_that_is_promoted_is_not_loaded_again(
    follower: Follower, registry: Registry, register: Register
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    registry.canary("v2", 0.25)
    follower.poll()
    assert follower.canary
    candidate = follower.canary.predictor
    registry.promote("v2")
    follower.poll()
    assert follower.predictor is candidate
    assert tried(follower) is None
    registry.rollback()
    follower.poll()
    assert (served(follower), tried(follower)) == ("v1", None)


def test_a_candidate_that_does_not_load_gets_no_request_and_is_told(
    follower: Follower, registry: Registry, register: Register
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower.poll()
    with damaged(registry, "v2"):
        registry.canary("v2", 0.25)
        follower.poll()
    assert (served(follower), tried(follower)) == ("v1", None)
    assert follower.refused is None
    assert refused_candidate(follower) == "v2"
    follower.poll()
    assert tried(follower) is None, "a refused candidate is not tried again at every poll"
    registry.stop_canary()
    follower.poll()
    assert refused_candidate(follower) is None
    registry.canary("v2", 0.25)
    follower.poll()
    assert tried(follower) == ("v2", 0.25)


def test_a_version_that_fails_its_self_check_is_refused_and_said_in_the_log(
    follower: Follower, registry: Registry, tmp_path: Path, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register("v1")
    registry.promote("v1")
    follower.poll()
    model = tiny_model()
    model.layers[-1].set_weights([np.full((3, 3), np.nan, np.float32), np.zeros(3, np.float32)])
    card = registry.card("v1").model_copy(update={"version": "v2"})
    registry.register(tmp_path / "v2", write_bundle(tmp_path / "v2", model, card))
    registry.promote("v2")
    follower.poll()
    assert served(follower) == "v1"
    assert re.search("model version v2 is refused: .*scores a test picture as .nan", caplog.text)
    assert refused(follower) == "v2"


def test_the_old_model_answers_until_the_new_one_is_loaded_and_has_scored(
    follower: Follower, registry: Registry, register: Register, monkeypatch: pytest.MonkeyPatch, poster: Poster
) -> None:
    register("v1")
    register("v2")
    registry.promote("v1")
    follower.poll()
    served_meanwhile = []
    original = Predictor.load

    def load(*given: Any, **options: Any) -> Predictor:
        found = original(*given, **options)
        assert found.predict([poster("red")])
        served_meanwhile.append(served(follower))
        return found

    monkeypatch.setattr(follower, "_load_predictor", load)
    registry.promote("v2")
    follower.poll()
    assert served(follower) == "v2"
    assert served_meanwhile == ["v1"]


def test_the_way_back_loads_nothing(follower: Follower, registry: Registry, register: Register) -> None:
    for version in ("v1", "v2"):
        register(version)
        registry.promote(version)
        follower.poll()
    newer = follower.predictor
    with damaged(registry, "v1"):
        registry.rollback()
        follower.poll()
    assert served(follower) == "v1"
    assert follower.refused is None
    registry.promote("v2")
    follower.poll()
    assert follower.predictor is newer, "nor does the way forth again"


def test_a_model_that_comes_takes_the_place_of_the_one_before(
    follower: Follower, registry: Registry, register: Register
) -> None:
    for version in ("v1", "v2", "v3"):
        register(version)
    registry.promote("v1")
    follower.poll()
    assert follower.predictor
    first = weakref.ref(follower.predictor)
    registry.promote("v2")
    follower.poll()
    gc.collect()
    assert first() is not None
    registry.canary("v3", 0.5)
    follower.poll()
    gc.collect()
    assert tried(follower) == ("v3", 0.5)
    assert first() is None, "at rest a replica holds two models at most"
    registry.rollback()
    follower.poll()
    assert (served(follower), tried(follower)) == ("v1", None)


def test_whoever_hears_of_the_models_is_told_after_each_look_and_may_fail(
    registry: Registry, register: Register
) -> None:
    heard: list[str | None] = []

    def hear(follower: Follower) -> None:
        heard.append(served(follower))
        raise RuntimeError("no metrics today")

    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000, on_poll=hear)
    follower.poll()
    register("v1")
    registry.promote("v1")
    follower.poll()
    follower.stop()
    assert heard == [None, "v1", "v1"], "the last requests are told of too"
