"""Fixtures of real S3 servers, started once a session when the first test asks for one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.s3_servers import S3Server, moto, swift, why_no_swift

_OTHER_AWS_VARIABLES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE")


@pytest.fixture(scope="session")
def swift_server() -> Iterator[S3Server]:
    """OpenStack Swift; without its packages the test skips, or fails where ONESHEET_REQUIRE_SERVERS=1 (CI)."""
    if reason := why_no_swift():
        if os.environ.get("ONESHEET_REQUIRE_SERVERS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with swift() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto's S3 server."""
    with moto() as server:
        yield server


@pytest.fixture(scope="session", params=["swift", "moto"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each server in turn."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh bucket on each server in turn, with the environment set so that AWS clients find it."""
    return fresh_bucket(s3_server, monkeypatch)


def fresh_bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the environment for the server and return the URL of a new bucket."""
    import boto3

    for variable in _OTHER_AWS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in server.environment().items():
        monkeypatch.setenv(variable, value)
    # boto3's default session keeps the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return server.create_bucket(f"posters-{secrets.token_hex(6)}")
