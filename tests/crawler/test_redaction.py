"""Keys in log records."""

from __future__ import annotations

import io
import logging

from crawler.redaction import SecretFilter


def _logged(message: str, *args: object, error: Exception | None = None) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(SecretFilter(["s3cret", ""]))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.error(message, *args, exc_info=error)
    return out.getvalue()


def test_a_key_is_hidden_in_the_message_its_arguments_and_the_traceback() -> None:
    assert _logged("GET /?apikey=s3cret") == "GET /?apikey=…\n"
    assert _logged("GET %s in %d s", "/?apikey=s3cret", 3) == "GET /?apikey=… in 3 s\n"
    said = _logged("it failed", error=ValueError("bad s3cret"))
    assert "s3cret" not in said
    assert "ValueError: bad …" in said


def test_other_records_pass_as_they_are() -> None:
    assert _logged("nothing to hide in %s", "here") == "nothing to hide in here\n"
