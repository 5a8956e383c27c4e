"""The registry: whole versions only, never overwritten; promotion and the way back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.store import FolderStore
from training.bundle import (
    CARD_FILE,
    MODEL_FILE,
    TITLES_FILE,
    VECTORS_FILE,
    BundleCard,
    BundleError,
    read_card,
    sha256_of,
)
from training.registry import Registry, RegistryError


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(FolderStore(tmp_path / "store"))


def registered(registry: Registry, folder: Path, version: str, day: int = 1) -> BundleCard:
    """Register a bundle whose model is a few bytes: the registry never looks inside."""
    folder = folder / version
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(version.encode())
    card = card_of(version, day).model_copy(update={"files": {MODEL_FILE: sha256_of(folder / MODEL_FILE)}})
    registry.register(folder, card)
    return card


def card_of(version: str, day: int = 1) -> BundleCard:
    return BundleCard(
        version=version,
        architecture="tiny",
        created_at=datetime(2026, 1, day, tzinfo=UTC),
        genres=("Drama",),
        thresholds=(0.5,),
        height_px=8,
        width_px=8,
    )


def test_versions_are_listed_newest_first(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "b-old", day=1)
    registered(registry, tmp_path, "a-new", day=2)
    assert [card.version for card in registry.versions()] == ["a-new", "b-old"]
    assert registry.card("latest").version == "a-new"


def test_a_fetched_version_is_what_was_registered(registry: Registry, tmp_path: Path) -> None:
    card = registered(registry, tmp_path, "v1")
    assert registry.fetch("v1", tmp_path / "fetched") == card
    assert (tmp_path / "fetched" / MODEL_FILE).read_bytes() == b"v1"
    assert (tmp_path / "fetched" / CARD_FILE).is_file()


def test_only_the_files_come_that_are_asked_for(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    folder.mkdir()
    names = (MODEL_FILE, TITLES_FILE, VECTORS_FILE)
    for name in names:
        (folder / name).write_bytes(name.encode())
    files = {name: sha256_of(folder / name) for name in names}
    registry.register(folder, card_of("v1").model_copy(update={"files": files}))
    # An index that is damaged is no matter to who does not ask for it.
    registry.store.put(f"models/v1/{VECTORS_FILE}", b"altered")
    card = registry.fetch("v1", tmp_path / "fetched", only=(MODEL_FILE, "model.xml"))
    assert set(card.files) == {MODEL_FILE}
    assert {path.name for path in (tmp_path / "fetched").iterdir()} == {MODEL_FILE, CARD_FILE}
    assert read_card((tmp_path / "fetched" / CARD_FILE).read_bytes()) == card
    with pytest.raises(BundleError, match="v1 was altered"):
        registry.fetch("v1", tmp_path / "whole")


def test_a_version_is_never_overwritten(registry: Registry, tmp_path: Path) -> None:
    card = registered(registry, tmp_path, "v1")
    with pytest.raises(RegistryError, match="v1 is registered already and never overwritten"):
        registry.register(tmp_path / "v1", card)


def test_a_half_registered_version_is_not_listed_and_can_be_registered_again(
    registry: Registry, tmp_path: Path
) -> None:
    registry.store.put("models/v1/model.keras", b"the upload died here")
    assert registry.versions() == []
    with pytest.raises(RegistryError, match="no model version 'v1'"):
        registry.fetch("v1", tmp_path / "fetched")
    registered(registry, tmp_path, "v1")
    registry.fetch("v1", tmp_path / "fetched")


def test_a_version_altered_in_the_store_is_refused_by_fetch(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1")
    registry.store.put("models/v1/model.keras", b"altered")
    with pytest.raises(BundleError, match="v1 was altered"):
        registry.fetch("v1", tmp_path / "fetched")


def test_a_damaged_card_hides_one_version_and_not_the_others(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1")
    registry.store.put("models/v2/bundle.json", b"{}")
    assert [card.version for card in registry.versions()] == ["v1"]


def test_an_unknown_version_is_answered_with_the_known_ones(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1")
    registered(registry, tmp_path, "v2")
    with pytest.raises(RegistryError, match=r"no model version 'v3' in .*; known: v2, v1"):
        registry.promote("v3")
    assert registry.production() is None


def test_without_a_promotion_the_sentence_says_how(registry: Registry) -> None:
    assert registry.production() is None
    with pytest.raises(RegistryError, match="no model is in production; run `onesheet models promote VERSION`"):
        registry.production_or_raise()
    with pytest.raises(RegistryError, match="no model is registered in"):
        registry.promote("latest")


def test_promotions_are_rolled_back_one_by_one(registry: Registry, tmp_path: Path) -> None:
    for day, version in enumerate(("v1", "v2", "v3"), start=1):
        registered(registry, tmp_path, version, day)
    registry.promote("v1")
    registry.promote("v2")
    assert registry.promote("latest").previous == ("v1", "v2")
    assert registry.rollback().version == "v2"
    assert registry.rollback().version == "v1"
    with pytest.raises(RegistryError, match="nothing to roll back to: v1"):
        registry.rollback()


def test_promoting_the_production_version_again_keeps_the_way_back(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1", day=1)
    registered(registry, tmp_path, "v2", day=2)
    registry.promote("v1")
    first = registry.promote("v2")
    assert registry.promote("v2") == first
    assert registry.rollback().version == "v1"


def test_a_damaged_pointer_is_named_and_mended_by_a_promotion(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1")
    registry.store.put("models/production.json", b"{")
    with pytest.raises(RegistryError, match=r"production\.json is damaged"):
        registry.production()
    assert registry.promote("v1").version == "v1"
    assert registry.production_or_raise().version == "v1"


def test_a_canary_has_a_share_until_it_is_stopped_or_something_is_promoted(registry: Registry, tmp_path: Path) -> None:
    for day, version in enumerate(("v1", "v2", "v3"), start=1):
        registered(registry, tmp_path, version, day)
    with pytest.raises(RegistryError, match="no model is in production"):
        registry.canary("v2", 0.1)
    before = registry.promote("v1")
    candidate = registry.canary("v2", 0.1).candidate
    assert candidate
    assert (candidate.version, candidate.share) == ("v2", 0.1)
    changed = registry.canary("v2", 0.2)
    assert changed.candidate == candidate.model_copy(update={"share": 0.2}), "the same canary, with another share"
    assert registry.production() == changed
    assert registry.stop_canary() == before
    with pytest.raises(RegistryError, match="no canary runs: all traffic goes to v1"):
        registry.stop_canary()
    registry.canary("latest", 0.5)
    assert registry.promote("v1") == before, "the production version, promoted again, ends it too"
    registry.canary("v2", 0.5)
    promoted = registry.promote("v2")
    assert (promoted.version, promoted.previous, promoted.candidate) == ("v2", ("v1",), None)
    registry.canary("v3", 0.5)
    assert registry.rollback().candidate is None


def test_what_cannot_be_a_canary_is_said_and_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1", 1)
    registered(registry, tmp_path, "v2", 2)
    before = registry.promote("v1")
    with pytest.raises(RegistryError, match="v1 is in production already; a candidate is another version"):
        registry.canary("v1", 0.1)
    with pytest.raises(RegistryError, match="known: v2, v1"):
        registry.canary("v9", 0.1)
    for share in (0, 1, 1.5, -1, float("nan")):
        with pytest.raises(RegistryError, match="is not between 0 and 1"):
            registry.canary("v2", share)
    assert registry.production() == before


def test_a_pointer_without_a_canary_is_as_it_always_was(registry: Registry, tmp_path: Path) -> None:
    registered(registry, tmp_path, "v1")
    registry.promote("v1")
    assert json.loads(registry.store.get("models/production.json")).keys() == {"version", "promoted_at", "previous"}
