"""The last fence around keys: no log record of this process shows one, whoever wrote it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable


class SecretFilter(logging.Filter):
    """Replaces secrets in a record's message and traceback."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without secrets."""
        message = record.getMessage()
        if (clean := self._without(message)) != message:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            if (clean := self._without(text)) != text:
                record.exc_info, record.exc_text = None, clean
        return True

    def _without(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


def hide(secrets: Iterable[str]) -> None:
    """Keep these texts out of everything that is logged from now on."""
    found = SecretFilter(secrets)
    for handler in logging.root.handlers:
        handler.addFilter(found)
