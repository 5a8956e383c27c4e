"""Errors that a user can act on: one sentence that says what was wrong, where, and what to do."""

from __future__ import annotations


class OnesheetError(Exception):
    """Base of every error that a command turns into one line and exit code 1."""


class ClusterError(OnesheetError):
    """Settings, storage, Ray nodes or jobs."""


class StoreError(ClusterError):
    """Object storage that cannot be reached, read or written."""


class StoreUnavailableError(StoreError):
    """The store does not answer, or says that it cannot just now: the same call may succeed later."""


class KeyNotFoundError(StoreError):
    """No object under that key."""


class KeyExistsError(StoreError):
    """`put(..., if_absent=True)` met an object that is already there."""


class CrawlerError(OnesheetError):
    """Catalogue, site or crawl."""


class TrainingError(OnesheetError):
    """Dataset, training or registry."""


class ServingError(OnesheetError):
    """Prediction or the endpoint."""
