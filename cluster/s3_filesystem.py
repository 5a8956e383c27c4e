"""pyarrow's S3 filesystem, as frameworks such as Ray Train want it, made to work beyond Amazon's own S3."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from cluster.s3_store import s3_client

# With waits that double up to 20 s this bridges an outage of a minute or two; its own three tries end within a second.
_TRIES = 14


class PortableS3FileSystem(S3FileSystem):
    """An S3FileSystem that pickles without credentials and deletes folders object by object.

    pyarrow deletes folders with DeleteObjects, which the AWS C++ SDK signs with a CRC: OpenStack Swift 2.30 insists
    on Content-MD5 there, and Google's S3 interface has no DeleteObjects at all.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return s3_filesystem, (self.aws_region, self.endpoint_url)

    def delete_dir(self, path: str) -> None:
        """Delete a folder and all below it. Raises FileNotFoundError where there is none."""
        if not self._delete_below(path):
            raise FileNotFoundError(f"no folder {path}")
        parent = path.strip("/").rpartition("/")[0]
        if "/" in parent:
            # Like pyarrow: a folder does not vanish because its last child did.
            self.create_dir(parent, recursive=False)

    def delete_dir_contents(self, path: str, *, accept_root_dir: bool = False, missing_dir_ok: bool = False) -> None:
        """Delete all below a folder, and keep the folder."""
        if not self._delete_below(path) and not missing_dir_ok:
            raise FileNotFoundError(f"no folder {path}")
        if "/" in path.strip("/"):
            self.create_dir(path.strip("/"), recursive=False)

    def _delete_below(self, path: str) -> int:
        bucket, _, folder = path.strip("/").partition("/")
        if not folder:
            raise ValueError(f"refusing to empty the whole bucket {bucket!r}")
        client = s3_client()
        count = 0
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/"):
            for entry in page.get("Contents", []):
                client.delete_object(Bucket=bucket, Key=entry["Key"])
                count += 1
        return count


def s3_filesystem(region: str, endpoint_url: str | None) -> PortableS3FileSystem:
    """The filesystem of an endpoint (None: Amazon's), with the credentials that this process finds the AWS way."""
    # The AWS C++ SDK would send the checksum in a trailer (aws-chunked), which Swift answers with 501. It reads
    # this variable and no option, also in a worker that unpickles the filesystem, so it is set here.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    options: dict[str, Any] = {"region": region, "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=_TRIES)}
    if endpoint_url:
        endpoint = urlsplit(endpoint_url)
        options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    filesystem = PortableS3FileSystem(**options)
    filesystem.aws_region, filesystem.endpoint_url = region, endpoint_url
    return filesystem
