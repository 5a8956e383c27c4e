"""Where a catalogue comes from: a path, S3 or standard input, as a file on disk; plain or gzipped, as bytes."""

from __future__ import annotations

import contextlib
import io
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cluster.errors import CrawlerError, StoreError

GZIP = b"\x1f\x8b"
_PIECE_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 18


class CatalogError(CrawlerError):
    """A catalogue that cannot be opened or recognised."""


@contextlib.contextmanager
def on_disk(source: str) -> Iterator[Path]:
    """The source as a regular file: itself, or a temporary copy of what S3, standard input or a pipe gives.

    Raises CatalogError.
    """
    if source == "-":
        with _spooled(source, lambda file: shutil.copyfileobj(sys.stdin.buffer, file)) as path:
            yield path
    elif source.startswith("s3://"):
        with _spooled(source, lambda file: _download(source, file)) as path:
            yield path
    else:
        path = Path(source)
        if _is_pipe(path):
            with path.open("rb") as pipe, _spooled(source, lambda file: shutil.copyfileobj(pipe, file)) as copy:
                yield copy
        else:
            yield path


def _is_pipe(path: Path) -> bool:
    try:
        with_mode = path.stat().st_mode
        if stat.S_ISDIR(with_mode):
            raise CatalogError(f"catalogue {path}: Is a directory; give one file, such as MovieGenre.csv")
        if not stat.S_ISFIFO(with_mode) and not stat.S_ISREG(with_mode):
            raise CatalogError(f"catalogue {path} is a device and no file; give a file, or - for standard input")
        if not stat.S_ISFIFO(with_mode):
            with path.open("rb"):
                pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or error
        raise CatalogError(f"catalogue {path}: {why}; give a file, s3://bucket/key, or - for standard input") from error
    return stat.S_ISFIFO(with_mode)


@contextlib.contextmanager
def _spooled(source: str, fill: Callable[[IO[bytes]], None]) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="onesheet-catalog-") as file:
        try:
            fill(file)
            file.flush()
        except OSError as error:
            raise CatalogError(
                f"catalogue {source}: cannot be copied to {tempfile.gettempdir()}: {error.strerror or error}; "
                "free space there or set TMPDIR"
            ) from error
        yield Path(file.name)


def _download(url: str, file: IO[bytes]) -> None:
    from botocore import exceptions as aws  # noqa: PLC0415

    from cluster.s3_store import s3_client  # noqa: PLC0415

    parts = urlsplit(url, allow_fragments=False)
    # Not parts.path alone: a key may hold a question mark.
    bucket, key = parts.netloc, url.removeprefix(f"s3://{parts.netloc}").lstrip("/")
    if not bucket or not key or key.endswith("/"):
        raise CatalogError(f"catalogue {url} names no object; use s3://bucket/key")
    try:
        client = s3_client()
    except StoreError as error:
        raise CatalogError(f"catalogue {url}: {error}") from error
    where = f"catalogue {url} at {client.meta.endpoint_url}"
    try:
        client.download_fileobj(bucket, key, file)
    except aws.ClientError as error:
        raise CatalogError(f"{where}: {_refusal(error, client, bucket, key)}") from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError) as error:
        raise CatalogError(
            f"{where}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except aws.ParamValidationError as error:
        raise CatalogError(f"{where}: {bucket!r} is no valid bucket; use s3://bucket/key") from error
    # s3transfer wraps a body that breaks off in an error of boto3's own, which is no BotoCoreError.
    except (aws.BotoCoreError, _boto3_error()) as error:
        raise CatalogError(f"{where} cannot be downloaded: {error}; check AWS_ENDPOINT_URL_S3, or try again") from error


def _boto3_error() -> type[Exception]:
    from boto3.exceptions import Boto3Error  # noqa: PLC0415

    found: type[Exception] = Boto3Error
    return found


def _refusal(error: Any, client: Any, bucket: str, key: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if status == 404:
        # The 404 of a HEAD does not say which of the two is missing.
        with contextlib.suppress(BotoCoreError):
            try:
                client.head_bucket(Bucket=bucket)
            except ClientError as missing:
                if missing.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                    return f"no bucket {bucket!r}; correct the bucket or AWS_ENDPOINT_URL_S3"
        return f"no object {key!r} in bucket {bucket!r}; correct the key"
    if status in (401, 403):
        return "access refused; use the AWS_ACCESS_KEY_ID or AWS_PROFILE of someone who may read it"
    return f"{error}; try again"


class Unpacked(io.RawIOBase):
    """The bytes of a file, gunzipped where its first bytes say gzip, whatever its name.

    A gzip file that breaks off or is damaged ends early, behind the last byte that can be read, and `damage` says
    why. `on_read` is told the position in the packed file.
    """

    def __init__(self, file: IO[bytes], on_read: Callable[[int], None] = lambda position: None) -> None:
        self.damage: str | None = None
        self._file = file
        self._on_read = on_read
        self._input = file.read(2)
        self.is_gzip = self._input == GZIP
        self._zip: Any = zlib.decompressobj(wbits=31) if self.is_gzip else None
        self._rest = b""
        self._ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As io.RawIOBase."""
        data = self._gunzipped(len(buffer)) if self.is_gzip else self._plain(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _plain(self, size: int) -> bytes:
        if self._input:
            data, self._input = self._input, b""
            return data[:size]  # no reader asks for less than two bytes
        data = self._file.read(size)
        self._on_read(self._file.tell())
        return data

    def _gunzipped(self, size: int) -> bytes:
        while not self._rest and not self._ended:
            if self._zip.eof:
                self._next_member()
                continue
            packed = self._input or self._file.read(_PIECE_BYTES)
            self._on_read(self._file.tell())
            before = self._zip.copy()
            try:
                self._rest = self._zip.decompress(packed, _BUFFER_BYTES)
            except zlib.error as error:
                self._rest = _salvaged(before, packed)
                self._end(_damage(error))
                break
            self._input = self._zip.unconsumed_tail
            if not packed and not self._rest and not self._zip.eof:
                self._end("the gzip file breaks off here; what follows is lost")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _next_member(self) -> None:
        """`cat a.gz b.gz` is a gzip file too, and so is one padded with zeros."""
        following = self._zip.unused_data
        while not (following := following.lstrip(b"\0")):
            following = self._file.read(_PIECE_BYTES)
            if not following:
                self._ended = True
                return
        following += self._file.read(2)
        if not following.startswith(GZIP):
            self._end("behind the end of the gzip file follow bytes that are no gzip; they are not read")
            return
        self._zip, self._input = zlib.decompressobj(wbits=31), following

    def _end(self, damage: str) -> None:
        self.damage, self._ended = damage, True


def _salvaged(unzip: Any, packed: bytes) -> bytes:
    """What can be had of a damaged piece, a byte at a time; zlib gives nothing of the whole."""
    found = bytearray()
    with contextlib.suppress(zlib.error):
        for at in range(len(packed)):
            found += unzip.decompress(packed[at : at + 1])
    return bytes(found)


def _damage(error: zlib.error) -> str:
    if "check" in str(error):
        return "the checksum of the gzip file is wrong; rows above may be wrong, too"
    return "the gzip file is damaged here; what follows is lost, and rows just above may be wrong"


@contextlib.contextmanager
def unpacked(path: Path, on_read: Callable[[int], None] = lambda position: None) -> Iterator[tuple[Any, Unpacked]]:
    """A buffered reader of a catalogue's bytes, and the `Unpacked` below it, whose `damage` counts at the end."""
    with path.open("rb", buffering=0) as file:
        raw = Unpacked(file, on_read)
        yield io.BufferedReader(raw, _BUFFER_BYTES), raw
