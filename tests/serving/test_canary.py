"""Which requests a candidate answers, and who says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from serving.access import Access
from serving.canary import chosen
from serving.follower import Follower
from serving.interface import Limits, build_api
from serving.keys import Keys
from tests.serving.conftest import Poster, Register
from training.registry import Registry

KEY = "0123456789abcdef0123"


@pytest.fixture
def follower(registry: Registry, register: Register) -> Follower:
    for version in ("v1", "v2"):
        register(version)
    registry.promote("v1")
    registry.canary("v2", 0.3)
    follower = Follower(registry, poll_interval_s=60, max_pixels=100_000)
    follower.poll()
    return follower


@pytest.fixture
def heard() -> list[Access]:
    return []


@pytest.fixture
def client(follower: Follower, heard: list[Access]) -> Iterator[TestClient]:
    keys = Keys({"alice": KEY, "bob": KEY + "x"})
    limits = Limits(max_upload_bytes=50_000, keys=keys, canary_by="caller", listeners=(heard.append,))
    with TestClient(build_api(follower, limits), headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


def version(follower: Follower, caller: str | None) -> str:
    found = chosen(follower, caller)
    assert found
    return found.version


def test_the_candidate_answers_its_share_of_the_requests(follower: Follower) -> None:
    answered = Counter(version(follower, None) for _ in range(4000))
    # Five standard deviations, of 29 requests each.
    assert abs(answered["v2"] - 1200) < 145
    assert answered["v1"] + answered["v2"] == 4000


def test_a_caller_always_meets_the_same_version_and_callers_have_their_share(follower: Follower) -> None:
    callers = [f"caller-{number}" for number in range(1000)]
    of = {caller: version(follower, caller) for caller in callers}
    assert 230 < Counter(of.values())["v2"] < 370
    assert all(version(follower, caller) == of[caller] for caller in callers)


def test_without_a_canary_production_answers_all(follower: Follower, registry: Registry) -> None:
    registry.stop_canary()
    follower.poll()
    assert {version(follower, None) for _ in range(200)} == {"v1"}


def test_all_posters_of_a_request_go_to_one_version_which_the_answer_names(
    client: TestClient, heard: list[Access], poster: Poster
) -> None:
    parts = [("image", (f"{number}.jpg", poster("red"))) for number in range(4)]
    for key in (KEY, KEY + "x"):
        for _ in range(3):
            answer = client.post("/v1/predict", files=parts, headers={"Authorization": f"Bearer {key}"})
            assert answer.json()["version"] == answer.headers["Onesheet-Version"] == heard[-1].version
        explained = client.post("/v1/explain", files=parts[:1], headers={"Authorization": f"Bearer {key}"})
        assert explained.headers["Onesheet-Version"] == answer.headers["Onesheet-Version"], "the same caller's"
    by_caller = {it.caller: it.version for it in heard}
    assert len({(it.caller, it.version) for it in heard}) == len(by_caller) == 2


def test_the_model_endpoint_shows_both(client: TestClient, follower: Follower, registry: Registry) -> None:
    model = client.get("/v1/model").json()
    assert model["version"] == "v1"
    assert (model["candidate"]["version"], model["candidate"]["share"]) == ("v2", 0.3)
    assert model["candidate"]["metrics"] == {"macro_map": 0.375}
    registry.stop_canary()
    follower.poll()
    registry.store.put("models/v2/model.keras", b"damaged")
    registry.canary("v2", 0.1)
    follower.poll()
    model = client.get("/v1/model").json()
    assert (model["candidate"], model["refused"]) == (None, None)
    assert model["refused_candidate"]["version"] == "v2"
    assert "altered" in model["refused_candidate"]["reason"]
