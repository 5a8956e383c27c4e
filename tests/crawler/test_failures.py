"""Statuses and exceptions, each with its reason."""

from __future__ import annotations

import pytest
from scrapy import exceptions as download
from scrapy.exceptions import IgnoreRequest

from crawler.failures import BlockedError, rejection_of_error, rejection_of_status
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
        Reason.SERVER_ERROR,
        Reason.TIMEOUT,
        Reason.UNREACHABLE,
        Reason.TRUNCATED,
    }
