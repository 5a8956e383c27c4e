"""Pure: which requests a candidate answers."""

from __future__ import annotations

import hashlib
import random
from typing import Literal

from serving.follower import Follower
from serving.predictor import Predictor

CanaryBy = Literal["request", "caller"]


def chosen(follower: Follower, caller: str | None) -> Predictor | None:
    """The model for one request: the candidate's for its share of them, else the production model's, if there is one.

    caller: whoever it is, always meets the same of the two; None: each request is drawn by itself.
    """
    # Once: the follower may put another in its place in between.
    canary = follower.canary
    if canary is None:
        return follower.predictor
    version = canary.predictor.version
    drawn = random.random() if caller is None else _place(version, caller)  # noqa: S311  a share, not a secret
    return canary.predictor if drawn < canary.share else follower.predictor


def _place(version: str, caller: str) -> float:
    """A caller's place among all, 0 to 1: the same for every replica, another one for each candidate."""
    digest = hashlib.sha256(f"{version}\0{caller}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
