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
from urllib.parse import unquote, urlsplit

from cluster.errors import KeyExistsError, KeyNotFoundError, StoreError

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@,-]*(/[A-Za-z0-9_][A-Za-z0-9._=+@,-]*)*")
_PREFIX = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._=+@,-]*/)*([A-Za-z0-9_][A-Za-z0-9._=+@,-]*)?")


def open_store(url: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///path` or a folder's path. Nothing is contacted yet."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from cluster.s3_store import S3Store  # noqa: PLC0415

        return S3Store(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StoreError(f"store {url!r} names the host {parts.netloc!r}; use file:///path or a folder's path")
        return FolderStore(Path(unquote(parts.path)))
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


def checked_key(key: str) -> str:
    """The key itself, if every kind of store can hold it. Raises StoreError."""
    if not _KEY.fullmatch(key) or len(key) > 900:
        raise StoreError(f"{key!r} is not a storage key: letters, digits and ._=+@,- in parts joined by /")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself, if a key can start with it. Raises StoreError."""
    if not _PREFIX.fullmatch(prefix):
        raise StoreError(f"{prefix!r} is not a storage prefix: the beginning of a key, such as posters/")
    return prefix


class FolderStore(Store):
    """A folder; created on the first put."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / checked_key(key)

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
            if not if_absent:
                part.replace(path)
            elif not self._link(part, path):
                raise KeyExistsError(f"{self.url_of(key)} exists already")
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    @staticmethod
    def _link(part: Path, path: Path) -> bool:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        return True

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyNotFoundError(f"{self.url_of(key)} does not exist") from error
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error.strerror or error}") from error

    def exists(self, key: str) -> bool:
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error.strerror or error}") from error

    def list(self, prefix: str = "") -> Iterator[str]:
        folder = self.root / checked_prefix(prefix).rpartition("/")[0]
        yield from (key for key in self._walk(folder) if key.startswith(prefix))

    def _walk(self, folder: Path) -> Iterator[str]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StoreError(f"cannot read {folder}: {error.strerror or error}") from error
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
        except (IsADirectoryError, NotADirectoryError):
            return  # a folder is no object
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
