"""Statuses and exceptions, each with its reason."""

from __future__ import annotations

import pytest
from scrapy import exceptions as download
from scrapy.exceptions import IgnoreRequest

from crawler.failures import BadAddressError, BlockedError, forbids_ai, rejection_of_error, rejection_of_status
from crawler.outcomes import Reason


def test_only_a_200_is_left_to_its_body() -> None:
    assert [status for status in range(100, 600) if rejection_of_status(status) is None] == [200]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, Reason.NOT_FOUND),
        (410, Reason.NOT_FOUND),
        (429, Reason.RATE_LIMITED),
        (408, Reason.TIMEOUT),
        (500, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
        (403, Reason.REFUSED),
        (302, Reason.REFUSED),
        (204, Reason.REFUSED),
    ],
)
def test_a_status_has_its_reason_and_says_so(status: int, reason: Reason) -> None:
    rejected = rejection_of_status(status)
    assert rejected
    assert (rejected.reason, rejected.detail) == (reason, f"HTTP {status}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BlockedError("HTTP 202 with a block page"), Reason.BLOCKED),
        (BadAddressError("169.254.169.254"), Reason.BAD_URL),
        (FileNotFoundError("tt1.jpg"), Reason.NOT_FOUND),
        (IgnoreRequest("Forbidden by robots.txt"), Reason.ROBOTS),
        (IgnoreRequest("max redirections reached"), Reason.REFUSED),
        (IgnoreRequest("its body exceeded DOWNLOAD_MAXSIZE (9 B) during decompression."), Reason.TOO_LARGE),
        (download.DownloadTimeoutError(), Reason.TIMEOUT),
        (TimeoutError(), Reason.TIMEOUT),
        (download.DownloadCancelledError(), Reason.TOO_LARGE),
        (download.ResponseDataLossError(), Reason.TRUNCATED),
        (download.UnsupportedURLSchemeError(), Reason.BAD_URL),
        (ValueError("Missing scheme"), Reason.BAD_URL),
        (download.CannotResolveHostError(), Reason.UNREACHABLE),
        (ConnectionResetError(104, "reset"), Reason.UNREACHABLE),
        (RuntimeError(), Reason.UNREACHABLE),
    ],
)
def test_an_exception_has_its_reason_and_never_an_empty_detail(error: BaseException, reason: Reason) -> None:
    rejected = rejection_of_error(error)
    assert rejected.reason is reason
    assert rejected.detail == (str(error) or type(error).__name__)


def test_what_another_day_may_mend_is_passing_and_nothing_else() -> None:
    assert {reason for reason in Reason if reason.is_passing} == {
        Reason.BLOCKED,
        Reason.RATE_LIMITED,
        Reason.QUOTA,
        Reason.WRONG_KEY,
        Reason.SERVER_ERROR,
        Reason.TIMEOUT,
        Reason.UNREACHABLE,
        Reason.TRUNCATED,
    }


def test_the_detail_of_an_unreachable_host_shows_no_object_of_ours() -> None:
    error = download.DownloadConnectionRefusedError(
        "Cannot connect to host a.org:80 ssl:<ssl.SSLContext object at 0x7f> [refused]"
    )
    assert rejection_of_error(error).detail == "Cannot connect to host a.org:80 [refused]"


@pytest.mark.parametrize("value", ["noai", "noimageai", "noindex, NoAI", "onesheet: noai", "OneSheet: noimageai, all"])
def test_a_host_can_forbid_the_use_for_training(value: str) -> None:
    assert forbids_ai({"x-robots-tag": value}, "onesheet")


@pytest.mark.parametrize("value", ["", "noindex, nofollow", "otherbot: noai", "noairplanes", "none"])
def test_other_robots_tags_forbid_nothing(value: str) -> None:
    assert forbids_ai({"x-robots-tag": value}, "onesheet") is None
    assert forbids_ai({}, "onesheet") is None
