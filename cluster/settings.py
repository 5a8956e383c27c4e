"""The settings: one typed object, read from `ONESHEET_…` once at the edge and passed down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cluster.errors import ClusterError


class Settings(BaseSettings):
    """What differs between a laptop and a cluster: addresses and limits.

    The store's credentials are not among them: object storage is reached the way AWS users expect
    (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_S3`, `AWS_REGION`, an instance's role). A `SecretStr` is
    shown and passed on to nobody: each node finds it in its own environment, or in a file below its `secrets_dir`.
    """

    model_config = SettingsConfigDict(env_prefix="ONESHEET_", frozen=True)

    store: str = Field("onesheet-data", description="Object storage: s3://bucket/prefix, or a folder.")
    ray_address: str | None = Field(
        None,
        description="A running Ray cluster (host:port, or auto); without it, each command starts Ray locally.",
    )
    contact: str | None = Field(
        None,
        description="An e-mail address or URL for the user agent; required to crawl a site that is not loopback.",
    )
    rehearsal: HttpUrl | None = Field(
        None,
        description="A rehearsal site: every request of the crawl goes to it instead of to the real hosts.",
    )
    page_url: str = Field(
        "https://www.imdb.com/title/{imdb_id}/",
        description="The title page of a title, for titles without a poster URL.",
    )
    tmdb_token: SecretStr | None = Field(
        None, description="TMDB's API read access token: turns on the source tmdb. Kept out of logs and jobs."
    )
    omdb_key: SecretStr | None = Field(
        None, description="OMDb's API key, for the source omdb. Kept out of logs and jobs."
    )
    api_keys: SecretStr | None = Field(
        None,
        description="Who may ask the endpoint, as NAME=KEY,NAME=KEY; without it, everybody. Kept out of logs and jobs.",
    )
    api_key: SecretStr | None = Field(
        None, description="The key with which `onesheet predict --url` asks an endpoint. Kept out of logs and jobs."
    )
    request_timeout_s: float = Field(30, gt=0, description="Seconds until a request of the crawl is given up.")
    max_poster_bytes: int = Field(20_000_000, gt=0, description="A larger response is rejected.")
    max_poster_pixels: int = Field(50_000_000, gt=0, description="An image of more pixels is never decoded.")
    secrets_dir: str | None = Field(
        None,
        description="A folder of secrets, each a file named like its variable, as Docker and Kubernetes mount them.",
    )
    weights: str = Field(
        "none",
        description="A backbone's .weights.h5 file, a folder of them (NAME_no_top.weights.h5), imagenet, or none.",
    )
    tracking: Literal["none", "mlflow", "wandb"] = Field(
        "none", description="Also follow training runs in MLflow or Weights & Biases, which have settings of their own."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", description="DEBUG adds the traceback to an error's sentence."
    )


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; keyword arguments that are not None win.

    Raises ClusterError that names the variable and the bad value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**{**_secrets(), **given})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = f"ONESHEET_{first['loc'][0]}".upper()
        raise ClusterError(f"{name}={first['input']!r} is not valid: {first['msg']}") from error


def _secrets() -> dict[str, str]:
    """The secrets that lie in files and not in the environment, by their fields' names."""
    folder = os.environ.get("ONESHEET_SECRETS_DIR")
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise ClusterError(f"ONESHEET_SECRETS_DIR={folder!r} is no folder on this machine")
    found = {}
    for field in _secret_fields():
        file = Path(folder) / f"ONESHEET_{field.upper()}"
        if file.name in os.environ or not file.is_file():
            continue
        try:
            found[field] = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ClusterError(f"the secret {file} cannot be read: {error}") from error
    return found


def _secret_fields() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)]


def secrets_set(settings: Settings) -> list[str]:
    """The variables of the secrets that are set."""
    return [f"ONESHEET_{name.upper()}" for name in _secret_fields() if getattr(settings, name) is not None]


def as_environment(settings: Settings) -> dict[str, str]:
    """The `ONESHEET_…` variables that give another process the settings that were set here, not the defaults.

    The Ray address is left out: a process elsewhere reaches the cluster by another way. So are the secrets: what a
    job is given can be read by everyone who sees the cluster's dashboard.
    """
    return {
        f"ONESHEET_{name.upper()}": str(value)
        for name in sorted(settings.model_fields_set - {"ray_address"})
        if (value := getattr(settings, name)) is not None and not isinstance(value, SecretStr)
    }
