"""The store on an S3 server: Amazon's own, or any other that speaks its language."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from cluster.errors import KeyExistsError, KeyNotFoundError, StoreError, StoreUnavailableError
from cluster.store import PATIENCE_S, Store, checked_folder, checked_key, checked_prefix

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# The parallel puts of one crawl or one upload; botocore's default pool of 10 would make the rest wait.
_CONNECTIONS = 64
# boto3.client() is not thread-safe; the client that it returns is.
_CLIENT_LOCK = threading.Lock()
# Codes with which servers ask for patience, also under a status below 500.
_PASSING_CODES = frozenset(
    {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException"}
)
# 5xx that patience does not mend: not implemented, wrong HTTP version, insufficient storage.
_LASTING_STATUSES = frozenset({501, 505, 507})
_LONGEST_PAUSE_S = 10.0

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _waiting(
    call: Callable[Concatenate[S3Store, Parameters], Result],
) -> Callable[Concatenate[S3Store, Parameters], Result]:
    """Make a method try again while the store is away, for as long as this store is patient."""

    @functools.wraps(call)
    def wait(self: S3Store, *given: Parameters.args, **named: Parameters.kwargs) -> Result:
        deadline, pause_s = time.monotonic() + self.patience_s, 1.0
        while True:
            try:
                return call(self, *given, **named)
            except StoreUnavailableError:
                # An unanswered put may have been made: tried again, it could take its own object for another's.
                if named.get("if_absent") or time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    return wait


class S3Store(Store):
    """A prefix of a bucket; endpoint, region and credentials come from the AWS environment and profiles."""

    def __init__(self, bucket: str, prefix: str) -> None:
        if not _BUCKET.fullmatch(bucket):
            raise StoreError(f"s3://{bucket}/{prefix} names no valid bucket; use s3://bucket/prefix")
        if prefix:
            checked_key(prefix)
        self.bucket = bucket
        self.prefix = prefix
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client: Any = None
        self._bucket_was_seen = False
        self.patience_s = 0.0

    def patient(self) -> S3Store:
        found = S3Store(self.bucket, self.prefix)
        found.patience_s = PATIENCE_S
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without its client: each process connects with the credentials it finds."""
        return {**self.__dict__, "_client": None}

    @property
    def client(self) -> Any:
        """The boto3 client, made on first use; thread-safe."""
        with _CLIENT_LOCK:
            if self._client is None:
                self._client = s3_client()
        return self._client

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)

    @_waiting
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

    @_waiting
    def put_file(self, key: str, file: BinaryIO, *, content_type: str = "application/octet-stream") -> None:
        file.seek(0)
        # One PUT, streamed, which S3 takes up to 5 GB: unlike a multipart upload it leaves no parts when killed.
        with self._explained(key):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=file, ContentType=content_type)

    @_waiting
    def get(self, key: str) -> bytes:
        with self._explained(key):
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with body:
                data: bytes = body.read()
        return data

    @_waiting
    def open(self, key: str) -> BinaryIO:
        with self._explained(key):
            size = self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]
        return io.BufferedReader(_ObjectReader(self, key, size), buffer_size=1 << 18)

    @_waiting
    def read_range(self, key: str, start: int, size: int) -> bytes:
        """`size` bytes of the object from `start`, fewer at its end. Raises KeyNotFoundError."""
        with self._explained(key):
            part = f"bytes={start}-{start + size - 1}"
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key), Range=part)["Body"]
            with body:
                data: bytes = body.read()
        return data

    @_waiting
    def exists(self, key: str) -> bool:
        try:
            with self._explained(key):
                self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except KeyNotFoundError:
            self._see_bucket()
            return False
        return True

    def _see_bucket(self) -> None:
        """The 404 of a HEAD does not say whether the object or the bucket is missing: ask for the bucket, once."""
        if not self._bucket_was_seen:
            try:
                with self._explained(""):
                    self.client.head_bucket(Bucket=self.bucket)
            except KeyNotFoundError as error:
                raise self._no_bucket() from error
            self._bucket_was_seen = True

    def _no_bucket(self) -> StoreError:
        where = f"{self.url} at {self.client.meta.endpoint_url}"
        return StoreError(f"{where}: no bucket {self.bucket!r}; create it or correct the store")

    def list(self, prefix: str = "") -> Iterator[str]:
        root = f"{self.prefix}/" if self.prefix else ""
        request = {"Bucket": self.bucket, "Prefix": root + checked_prefix(prefix)}
        for page in self._pages(request):
            for entry in page.get("Contents", []):
                # Other programs, pyarrow among them, mark folders by empty objects that end with a slash.
                if not entry["Key"].endswith("/"):
                    yield entry["Key"].removeprefix(root)

    def folders(self, prefix: str) -> Iterator[str]:
        root = (f"{self.prefix}/" if self.prefix else "") + checked_folder(prefix)
        for page in self._pages({"Bucket": self.bucket, "Prefix": root, "Delimiter": "/"}):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"].removeprefix(root).rstrip("/")

    def _pages(self, request: dict[str, str]) -> Iterator[dict[str, Any]]:
        page = self._page(request)
        yield page
        while token := page.get("NextContinuationToken"):
            page = self._page({**request, "ContinuationToken": token})
            yield page

    @_waiting
    def _page(self, request: dict[str, str]) -> dict[str, Any]:
        with self._explained(request["Prefix"]):
            found: dict[str, Any] = self.client.list_objects_v2(**request)
        return found

    @_waiting
    def delete(self, key: str) -> None:
        with self._explained(key), contextlib.suppress(KeyNotFoundError):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    def check(self) -> None:
        key = f"onesheet-check-{secrets.token_hex(8)}"
        self.put(key, b"")
        self.delete(key)

    def filesystem(self) -> tuple[Any, str]:
        from cluster.s3_filesystem import s3_filesystem  # noqa: PLC0415

        endpoint_url = self.client.meta.endpoint_url
        region = self.client.meta.region_name or "us-east-1"
        return s3_filesystem(region, None if is_aws(endpoint_url) else endpoint_url), (
            f"{self.bucket}/{self.prefix}".rstrip("/")
        )

    @contextlib.contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn botocore's errors into ours, each with what to do."""
        from botocore import exceptions as aws  # noqa: PLC0415

        where = f"{self.url} at {self.client.meta.endpoint_url}"
        try:
            yield
        except aws.ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code == "NoSuchBucket":
                raise self._no_bucket() from error
            if code in ("NoSuchKey", "404", "NotFound"):
                raise KeyNotFoundError(f"{self.url_of(key)} does not exist") from error
            # AWS answers 409 to the slower of two conditional puts that run at the same moment.
            if _status(error) == 412 or code == "ConditionalRequestConflict":
                raise KeyExistsError(f"{self.url_of(key)} exists already") from error
            if _status(error) in (401, 403):
                raise StoreError(
                    f"{where}: the credentials are refused ({code}); "
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and the bucket's policy"
                ) from error
            status = _status(error)
            if code in _PASSING_CODES or status == 429 or (status >= 500 and status not in _LASTING_STATUSES):
                raise StoreUnavailableError(f"{where} is not available: {error}") from error
            raise StoreError(f"{where}: {error}") from error
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
            raise StoreError(
                f"{where}: no usable credentials ({error}); "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            ) from error
        except aws.BotoCoreError as error:
            # Timeouts, refused, broken and cut connections; a certificate does not mend itself.
            is_passing = isinstance(error, aws.ConnectionError | aws.HTTPClientError | aws.IncompleteReadError)
            kind = StoreUnavailableError if is_passing and not isinstance(error, aws.SSLError) else StoreError
            raise kind(f"{where} cannot be reached: {error}; check AWS_ENDPOINT_URL_S3") from error


class _ObjectReader(io.RawIOBase):
    """An object as a raw file; a BufferedReader over it asks for large ranges as they are."""

    def __init__(self, store: S3Store, key: str, size: int) -> None:
        self._store, self._key, self._size, self._place = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._place)
        if wanted <= 0:
            return 0
        data = self._store.read_range(self._key, self._place, wanted)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def s3_client() -> Any:
    """A boto3 client for S3, from the AWS environment and profiles."""
    import boto3  # noqa: PLC0415
    from botocore import handlers  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    def client(**s3: str) -> Any:
        found = boto3.client(
            "s3",
            config=Config(
                # Else botocore puts the name together anew for each request, from sixteen parts.
                user_agent=f"onesheet boto3/{boto3.__version__}",
                connect_timeout=3,
                read_timeout=60,
                retries={"mode": "standard", "max_attempts": 4},
                max_pool_connections=_CONNECTIONS,
                # Servers other than AWS's own reject the checksums that newer boto3 adds by default.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3=s3 or None,
            ),
        )
        # "Expect: 100-continue" asks before each body, which is a round trip more for each poster of 30 KB. Both
        # together are a quarter of what a put costs here, and half of the time that it takes to a server far away.
        found.meta.events.unregister("before-call.s3", handlers.add_expect_header)
        return found

    try:
        found = client()
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"the AWS settings cannot be used: {error}") from error
    # Self-hosted servers seldom have a DNS name a bucket.
    return found if is_aws(found.meta.endpoint_url) else client(addressing_style="path")


def is_aws(endpoint_url: str) -> bool:
    """Whether the endpoint is Amazon's own."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _status(error: Exception) -> int:
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
