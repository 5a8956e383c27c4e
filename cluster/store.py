"""Object storage with one contract over `s3://bucket/prefix` and over a plain folder.

Keys are relative, `/`-separated paths. A put is atomic: a reader sees the old object or the new one, never
a part. Nothing else in onesheet touches storage, except frameworks that are handed `Store.filesystem()`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.errors import KeyExistsError, KeyNotFoundError, StoreError

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@,-]*(/[A-Za-z0-9_][A-Za-z0-9._=+@,-]*)*")
_S3_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The parallel puts of one crawl or one upload; botocore's default pool of 10 would make the rest wait.
_S3_CONNECTIONS = 64


def open_store(url: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///path` or a folder's path. Nothing is contacted yet."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return S3Store(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file":
        return FolderStore(Path(parts.path))
    if "://" in url:
        raise StoreError(f"store {url!r}: unknown scheme {parts.scheme!r}; use s3://bucket/prefix or a folder")
    return FolderStore(Path(url))


class Store(ABC):
    """put, get, list, exists, delete under one root."""

    url: str

    @abstractmethod
    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
    ) -> None:
        """Write an object whole, replacing what is there.

        With `if_absent`, raises KeyExistsError instead of replacing. Folders and S3 servers with conditional
        puts guarantee that one of two racing writers wins; on other servers it is a check before the put.
        """

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The object's bytes. Raises KeyNotFoundError."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, in ascending order, lazily."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; no error where there is none."""

    @abstractmethod
    def check(self) -> None:
        """Raise StoreError with a sentence to act on unless the store can be written and read now."""

    @abstractmethod
    def filesystem(self) -> tuple[Any, str]:
        """(pyarrow.fs.FileSystem, root path) for frameworks that write by themselves, such as Ray Train.

        Carries no credentials: each node resolves its own, the AWS way.
        """

    def url_of(self, key: str) -> str:
        """The object's full address, to show to people."""
        return f"{self.url.rstrip('/')}/{key}"


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or len(key) > 900:
        raise StoreError(f"{key!r} is not a storage key: letters, digits and ._=+@,- in parts joined by /")
    return key


class FolderStore(Store):
    """A folder; created on the first put."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
    ) -> None:
        path = self._path(key)
        # A name that list() never shows, in the same folder so that the rename is atomic.
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            if if_absent:
                os.link(part, path)
            else:
                part.replace(path)
        except FileExistsError as error:
            raise KeyExistsError(f"{self.url_of(key)} exists already") from error
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyNotFoundError(f"{self.url_of(key)} does not exist") from error
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error.strerror or error}") from error

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        folder = self.root / prefix.rpartition("/")[0]
        if ".." in prefix.split("/"):
            raise StoreError(f"{prefix!r} is not a storage prefix")
        yield from (key for key in self._walk(folder) if key.startswith(prefix))

    def _walk(self, folder: Path) -> Iterator[str]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        # S3 lists by whole key, so a folder sorts as its name with the slash behind it.
        entries.sort(key=lambda entry: entry.name + "/" if entry.is_dir() else entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from self._walk(Path(entry.path))
            else:
                yield Path(entry.path).relative_to(self.root).as_posix()

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot delete {self._path(key)}: {error.strerror or error}") from error

    def check(self) -> None:
        probe = self.root / f".{secrets.token_hex(8)}.part"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the store {self.url} cannot be written: {error.strerror or error}; "
                "set ONESHEET_STORE to a folder of yours or to s3://bucket/prefix"
            ) from error

    def filesystem(self) -> tuple[Any, str]:
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415

        return LocalFileSystem(), str(self.root)


class S3Store(Store):
    """A prefix of a bucket; endpoint, region and credentials come from the AWS environment and profiles."""

    def __init__(self, bucket: str, prefix: str) -> None:
        if not _S3_BUCKET.fullmatch(bucket):
            raise StoreError(f"s3://{bucket}/{prefix} names no valid bucket; use s3://bucket/prefix")
        if prefix:
            _checked(prefix)
        self.bucket = bucket
        self.prefix = prefix
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without its client: each process connects with the credentials it finds."""
        return {**self.__dict__, "_client": None}

    @property
    def client(self) -> Any:
        """The boto3 client, made on first use; thread-safe."""
        if self._client is None:
            self._client = _s3_client()
        return self._client

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}" if self.prefix else _checked(key)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
    ) -> None:
        condition = {}
        if if_absent:
            # Servers without conditional puts either refuse the header (501) or ignore it, so look first.
            if self.exists(key):
                raise KeyExistsError(f"{self.url_of(key)} exists already")
            condition = {"IfNoneMatch": "*"}
        request = {"Bucket": self.bucket, "Key": self._key(key), "Body": data, "ContentType": content_type}
        with self._explained(key):
            try:
                self.client.put_object(**request, **condition)
            except Exception as error:
                if not condition or _status(error) != 501:
                    raise
                self.client.put_object(**request)

    def get(self, key: str) -> bytes:
        with self._explained(key):
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with body:
                data: bytes = body.read()
        return data

    def exists(self, key: str) -> bool:
        try:
            with self._explained(key):
                self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except KeyNotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        root = f"{self.prefix}/" if self.prefix else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + prefix)
        with self._explained(prefix):
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(root)

    def delete(self, key: str) -> None:
        with self._explained(key), contextlib.suppress(KeyNotFoundError):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def check(self) -> None:
        key = f"onesheet-check-{secrets.token_hex(8)}"
        self.put(key, b"")
        self.delete(key)

    def filesystem(self) -> tuple[Any, str]:
        from pyarrow.fs import S3FileSystem  # noqa: PLC0415

        # The AWS C++ SDK would sign trailing checksums that servers other than AWS's own reject.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        endpoint = urlsplit(self.client.meta.endpoint_url)
        options: dict[str, Any] = {"region": self.client.meta.region_name or "us-east-1"}
        if not _is_aws(self.client.meta.endpoint_url):
            options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        return S3FileSystem(**options), f"{self.bucket}/{self.prefix}".rstrip("/")

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn botocore's errors into ours, each with what to do."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        where = f"{self.url} at {self.client.meta.endpoint_url}"
        try:
            yield
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code == "NoSuchBucket":
                raise StoreError(f"{where}: no bucket {self.bucket!r}; create it or correct the store") from error
            if code in ("NoSuchKey", "404", "NotFound"):
                raise KeyNotFoundError(f"{self.url_of(key)} does not exist") from error
            if _status(error) == 412:
                raise KeyExistsError(f"{self.url_of(key)} exists already") from error
            if _status(error) in (401, 403):
                raise StoreError(
                    f"{where}: the credentials are refused ({code}); "
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and the bucket's policy"
                ) from error
            raise StoreError(f"{where}: {error}") from error
        except NoCredentialsError as error:
            raise StoreError(
                f"{where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from error
        except BotoCoreError as error:
            raise StoreError(f"{where} cannot be reached: {error}; check AWS_ENDPOINT_URL_S3") from error


def _s3_client() -> Any:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    def client(**s3: str) -> Any:
        return boto3.client(
            "s3",
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 4},
                max_pool_connections=_S3_CONNECTIONS,
                # Servers other than AWS's own reject the checksums that newer boto3 adds by default.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3=s3 or None,
            ),
        )

    try:
        found = client()
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"the AWS settings cannot be used: {error}") from error
    # Self-hosted servers seldom have a DNS name a bucket.
    return found if _is_aws(found.meta.endpoint_url) else client(addressing_style="path")


def _is_aws(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _status(error: Exception) -> int:
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
