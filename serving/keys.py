"""Who may ask: API keys, compared in constant time and shown to nobody."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from cluster.errors import ServingError

# What guesses cannot find: 16 characters of hexadecimal are 64 bits.
_LEAST_CHARS = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOW = "give NAME=KEY,NAME=KEY with keys of 16 characters or more, such as those of `openssl rand -hex 24`"


class Keys:
    """The keys of callers by their names."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """keys: name → key. Raises ServingError where a name or a key will not do; no key is in its sentence."""
        for name, key in keys.items():
            if not _NAME.fullmatch(name):
                raise ServingError(
                    f"ONESHEET_API_KEYS: {name[:20]!r} is no name of letters, digits, '.', '_', '-'; {_HOW}"
                )
            if len(key) < _LEAST_CHARS or not key.isascii() or any(char.isspace() for char in key):
                raise ServingError(f"ONESHEET_API_KEYS: the key of {name} is too short or has odd characters; {_HOW}")
        self._digests = {name: _digest(key) for name, key in keys.items()}
        if len(set(self._digests.values())) < len(self._digests):
            raise ServingError("ONESHEET_API_KEYS: two names have the same key; give each its own")

    @classmethod
    def read(cls, text: str) -> Keys:
        """The keys of `NAME=KEY,NAME=KEY`. Raises ServingError."""
        pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
        if not pairs or any(not equals for _, equals, _ in pairs):
            raise ServingError(f"ONESHEET_API_KEYS cannot be read; {_HOW}")
        names = [name for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ServingError("ONESHEET_API_KEYS: a name stands there twice; give each caller one")
        return cls({name: key for name, _, key in pairs})

    def name_of(self, key: str) -> str | None:
        """Whose key it is, in a time that does not depend on how much of it is right; None for nobody's."""
        given, found = _digest(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._digests)})"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
