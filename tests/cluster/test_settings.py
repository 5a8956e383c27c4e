"""Settings: what is wrong is named as the variable that the user set."""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError
from cluster.settings import Settings, as_environment, load_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ONESHEET_{name.upper()}", raising=False)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ONESHEET_REQUEST_TIMEOUT_S", "soon"),
        ("ONESHEET_REQUEST_TIMEOUT_S", "0"),
        ("ONESHEET_MAX_POSTER_BYTES", "-1"),
        ("ONESHEET_REHEARSAL", "not a url"),
        ("ONESHEET_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ClusterError, match=f"^{variable}='{value}' is not valid: "):
        load_settings()


def test_an_option_wins_over_the_environment_unless_it_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESHEET_STORE", "s3://from-the/environment")
    assert load_settings(store="s3://from-the/option").store == "s3://from-the/option"
    assert load_settings(store=None).store == "s3://from-the/environment"


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().store = "elsewhere"


def test_another_process_gets_the_settings_that_were_set_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESHEET_REHEARSAL", "http://127.0.0.1:8000")
    monkeypatch.setenv("ONESHEET_RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = load_settings(store="s3://bucket/prefix")
    assert as_environment(settings) == {
        "ONESHEET_REHEARSAL": "http://127.0.0.1:8000/",
        "ONESHEET_STORE": "s3://bucket/prefix",
    }
