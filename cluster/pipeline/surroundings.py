"""What a pipeline starts from besides its file: the content of what it names, the settings, the version."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cluster.errors import ClusterError
from cluster.pipeline.definition import Pipeline
from cluster.pipeline.plan import Facts
from cluster.pipeline.record import folder_of
from cluster.settings import Settings
from cluster.store import Store

# Settings that shape a stage's result.
_SHAPING = {
    "crawl": ("page_url", "rehearsal", "max_poster_bytes", "max_poster_pixels"),
    "prepare": ("max_poster_pixels",),
    "train": ("weights",),
    "tune": ("weights",),
}
_MAX_PATH = 1000


def look_around(pipeline: Pipeline, settings: Settings) -> Facts:
    """The facts that the plan is made of. Raises ClusterError for a catalogue that is not there."""
    files: dict[str, dict[str, str]] = {}
    found_settings: dict[str, dict[str, str]] = {}
    for stage in pipeline.stages:
        given = pipeline.options_of(stage)
        files[stage] = _contents({name: value for name, value in given.items() if isinstance(value, str)})
        # Only what was set: a default that changes comes with another version of onesheet.
        names = [name for name in _SHAPING.get(stage, ()) if name in settings.model_fields_set and name not in given]
        found_settings[stage] = {name: str(getattr(settings, name)) for name in names}
        files[stage] |= _contents(found_settings[stage])
    return Facts(
        catalog=catalog_digest(pipeline.catalog),
        catalog_path=pipeline.catalog,
        code=importlib.metadata.version("onesheet"),
        files=files,
        settings=found_settings,
    )


def catalog_digest(catalog: str) -> str:
    """A text that is another one as soon as the catalogue is: a hash of its bytes, or an S3 object's ETag."""
    if catalog.startswith("s3://"):
        return _etag(catalog)
    path = Path(catalog)
    if not path.is_file():
        raise ClusterError(f"catalogue {catalog} is no file; give one, or s3://bucket/key")
    return _file_digest(path)


def leave_in_store(pipeline: Pipeline, facts: Facts, store: Store) -> str:
    """Put a catalogue that lies on this machine where every node finds it; its address there, or that which it has."""
    if pipeline.catalog.startswith("s3://"):
        return pipeline.catalog
    name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(pipeline.catalog).name).lstrip("._-") or "catalog"
    key = f"{folder_of(pipeline.name)}catalog/{facts.catalog[:16]}/{name}"
    if not store.exists(key):
        with Path(pipeline.catalog).open("rb") as file:
            store.put_file(key, file)
    return store.url_of(key)


def _contents(values: Mapping[str, str]) -> dict[str, str]:
    """A digest for each value that is the path of something here."""
    found = {}
    for name, value in values.items():
        try:
            path = Path(value) if len(value) < _MAX_PATH else None
            if path is not None and path.is_file():
                found[name] = _file_digest(path)
            elif path is not None and path.is_dir():
                found[name] = _folder_digest(path)
        except (OSError, ValueError) as error:
            raise ClusterError(f"{name} {value} cannot be read: {error}") from error
    return found


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror or error}") from error


def _folder_digest(path: Path) -> str:
    """By names, sizes and times: a folder may hold a million posters."""
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        facts = file.stat()
        digest.update(f"{file.relative_to(path)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:32]


def _etag(url: str) -> str:
    from botocore import exceptions as aws  # noqa: PLC0415

    from cluster.s3_store import s3_client  # noqa: PLC0415

    bucket = urlsplit(url, allow_fragments=False).netloc
    key = url.removeprefix(f"s3://{bucket}").lstrip("/")
    if not bucket or not key:
        raise ClusterError(f"catalogue {url} names no object; use s3://bucket/key")
    client = s3_client()
    try:
        return str(client.head_object(Bucket=bucket, Key=key)["ETag"]).strip('"')
    except (aws.ClientError, aws.BotoCoreError) as error:
        raise ClusterError(f"catalogue {url} at {client.meta.endpoint_url} cannot be seen: {error}") from error
