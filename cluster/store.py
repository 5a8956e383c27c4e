"""Object storage with one contract over `s3://bucket/prefix` and over a plain folder.

Keys are relative, `/`-separated paths. A put is atomic: a reader sees the old object or the new one, never
a part. Nothing else in onesheet touches storage, except frameworks that are handed `Store.filesystem()`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from cluster.errors import KeyExistsError, KeyNotFoundError, StoreError, StoreUnavailableError

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+@,-]*(/[A-Za-z0-9_][A-Za-z0-9._=+@,-]*)*")
_PREFIX = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._=+@,-]*/)*([A-Za-z0-9_][A-Za-z0-9._=+@,-]*)?")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# What a network drive says while its server is away.
_PASSING = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)


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


# An outage that an operator or a cloud mends by itself; a first look at a store should not take so long to fail.
PATIENCE_S = 120.0


class Store(ABC):
    """put, get, list, exists, delete under one root.

    Every call raises StoreUnavailableError where the same call may succeed later (a server that does not answer, a
    network drive that went away), and StoreError where somebody has to act first.
    """

    url: str
    # Whether a small write is done before a thread could be asked to do it.
    is_local: bool = False

    def patient(self) -> Store:
        """The same store for long work: its calls wait `PATIENCE_S` for a server that does not answer, then raise."""
        return self

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
    def put_file(self, key: str, file: BinaryIO, *, content_type: str = "application/octet-stream") -> None:
        """Write an object whole, like `put`, from all of a seekable file, which is never in memory at once."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The object's bytes. Raises KeyNotFoundError."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """The object as a seekable file, to read parts of something large. Raises KeyNotFoundError.

        On S3 each read is a request of its own, and an object deleted meanwhile ends in KeyNotFoundError.
        """

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, in ascending order, lazily."""

    @abstractmethod
    def folders(self, prefix: str) -> Iterator[str]:
        """The names directly below `prefix` (empty, or ending with /) that have keys below them, in ascending order.

        Costs as little as there are names, however many keys lie below them.
        """

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


def checked_folder(prefix: str) -> str:
    """The prefix itself, if it is empty or names a whole folder. Raises StoreError."""
    if prefix and not prefix.endswith("/"):
        raise StoreError(f"{prefix!r} is not a storage folder: it ends with /, such as crawls/")
    return checked_prefix(prefix)


class FolderStore(Store):
    """A folder; created on the first put."""

    is_local = True

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
        with self._part(key, if_absent=if_absent) as part:
            waiting = memoryview(data)
            while waiting:
                waiting = waiting[os.write(part, waiting) :]

    def put_file(self, key: str, file: BinaryIO, *, content_type: str = "application/octet-stream") -> None:
        file.seek(0)
        with self._part(key) as part, os.fdopen(part, "wb", closefd=False) as target:
            shutil.copyfileobj(file, target, 1 << 20)

    @contextlib.contextmanager
    def _part(self, key: str, *, if_absent: bool = False) -> Iterator[int]:
        """A descriptor to write an object to, which appears under its key when the block ends without an error.

        Called for every poster, so it is four system calls where all goes well: open, write, close, rename.
        """
        path = f"{self.root}/{checked_key(key)}"
        # A name that list() never shows, in the same folder so that the rename is atomic.
        part = f"{path.rpartition('/')[0]}/.{secrets.token_hex(8)}.part"
        try:
            descriptor = _create(part)
            try:
                try:
                    yield descriptor
                finally:
                    os.close(descriptor)
                if if_absent:
                    os.link(part, path)
                    os.unlink(part)  # noqa: PTH108
                else:
                    os.replace(part, path)  # noqa: PTH105 - a Path for every poster costs more than the rename
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)  # noqa: PTH108
                raise
        except OSError as error:
            if if_absent and isinstance(error, FileExistsError):
                raise KeyExistsError(f"{self.url_of(key)} exists already") from error
            raise self._explained("write", path, error) from error

    def _explained(self, action: str, path: Path | str, error: OSError) -> StoreError:
        if error.errno in _FULL:
            what = (
                "no space left on the device" if error.errno == errno.ENOSPC else "the quota is used up on the device"
            )
            return StoreError(
                f"cannot {action} {path}: {what} of {self.url}; free some, then run the same command again"
            )
        kind = StoreUnavailableError if error.errno in _PASSING else StoreError
        return kind(f"cannot {action} {path}: {error.strerror or error}")

    def get(self, key: str) -> bytes:
        with self._reading(key):
            return self._path(key).read_bytes()

    def open(self, key: str) -> BinaryIO:
        with self._reading(key):
            return self._path(key).open("rb")

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyNotFoundError(f"{self.url_of(key)} does not exist") from error
        except OSError as error:
            raise self._explained("read", self._path(key), error) from error

    def exists(self, key: str) -> bool:
        try:
            return self._path(key).is_file()
        except OSError as error:
            raise self._explained("read", self._path(key), error) from error

    def list(self, prefix: str = "") -> Iterator[str]:
        folder = self.root / checked_prefix(prefix).rpartition("/")[0]
        yield from (key for key in self._walk(folder) if key.startswith(prefix))

    def folders(self, prefix: str) -> Iterator[str]:
        folder = self.root / checked_folder(prefix)
        for entry in self._scan(folder):
            # A folder whose last object was deleted has no keys.
            if entry.is_dir() and next(self._walk(Path(entry.path)), None):
                yield entry.name

    def _walk(self, folder: Path) -> Iterator[str]:
        for entry in self._scan(folder):
            if entry.is_dir():
                yield from self._walk(Path(entry.path))
            else:
                yield Path(entry.path).relative_to(self.root).as_posix()

    def _scan(self, folder: Path) -> Sequence[os.DirEntry[str]]:
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._explained("read", folder, error) from error
        # S3 lists by whole key, so a folder sorts as its name with the slash behind it.
        return sorted(entries, key=lambda entry: entry.name + "/" if entry.is_dir() else entry.name)

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except (IsADirectoryError, NotADirectoryError):
            return  # a folder is no object
        except OSError as error:
            raise self._explained("delete", self._path(key), error) from error

    def check(self) -> None:
        probe = self.root / f".{secrets.token_hex(8)}.part"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            if error.errno in _FULL | _PASSING:
                raise self._explained("write", probe, error) from error
            raise StoreError(
                f"the store {self.url} cannot be written: {error.strerror or error}; "
                "set ONESHEET_STORE to a folder of yours or to s3://bucket/prefix"
            ) from error

    def filesystem(self) -> tuple[Any, str]:
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415

        return LocalFileSystem(), str(self.root)


def _create(part: str) -> int:
    try:
        return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        Path(part).parent.mkdir(parents=True, exist_ok=True)
        return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
