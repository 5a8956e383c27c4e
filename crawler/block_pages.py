"""Pure: an HTTP answer → whether it is a block page in place of what was asked for, and of which sort.

A block page asks for a browser, a person or a consent. It is recognised to be respected: never stored, never taken for
"no poster", never worked around.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit


class Block(StrEnum):
    """What a block page asks for: a script's answer, a person's answer, or a consent to cookies."""

    CHALLENGE = "challenge"
    CAPTCHA = "captcha"
    CONSENT = "consent"


_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|.{4}ftypavif|BM.{4}\0\0|II\*\0|MM\0\*", re.DOTALL
)

# Statuses that such pages come with. A 404 with a captcha on it is still an answer: there is no such page.
_STATUSES = frozenset({200, 202, 401, 403, 405, 406, 418, 429, 451, 503})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Block pages are short, and say what they are at their start.
_START = 40_000

# In lower case. AWS WAF, Amazon's own robot check, DataDome, hCaptcha, reCAPTCHA, Turnstile, HUMAN, Arkose, Imperva.
_CAPTCHAS = (
    b"/errors/validatecaptcha",
    b"opfcaptcha",
    b"captcha-container",
    b"awswafcaptcha",
    b"captcha.awswaf.com",
    b"captcha-delivery.com",
    b"hcaptcha.com/",
    b"h-captcha",
    b"g-recaptcha",
    b"/recaptcha/",
    b"cf-turnstile",
    b"px-captcha",
    b"arkoselabs.com/",
    b"_incapsula_resource",
)
# AWS WAF, Cloudflare, Akamai.
_CHALLENGES = (
    b"awswafcookiedomainlist",
    b"awswafintegration",
    b"token.awswaf.com",
    b"challenge-container",
    b"gokuprops",
    b"_cf_chl_opt",
    b"cf-browser-verification",
    b"cf-challenge",
    b"challenge-error-text",
    b"sec-if-cpt-container",
    b"/_sec/cp_challenge",
)
_CONSENT_MARKS = re.compile(
    rb"consent[-_]?(?:wall|page|gate|form)|(?:cookie|privacy)[-_]?(?:wall|gate)\b|collectconsent|guce\.|consent\.cmp\."
    rb"|action=[\"']?[^\"'>\s]{0,500}consent|//consent\."
)
# A consent banner on a page that was answered is no wall: these are the marks of an answer, in any of IMDb's eras.
_ANSWERS = (
    b"application/ld+json",
    b"__NEXT_DATA__",
    b"og:title",
    b"og:image",
    b"tn15title",
    b"title-overview",
    b"titlereference-header",
    b'rel="canonical"',
)


def block_of(status: int, headers: Mapping[str, str], body: bytes) -> Block | None:
    """Which sort of block page an answer is; None for any other answer, an ordinary refusal (403) among them.

    headers: names in lower case. A picture costs no more than a look at its first bytes.
    """
    waf = headers.get("x-amzn-waf-action", "").strip().lower()
    if waf in ("challenge", "captcha"):
        return Block(waf)
    if headers.get("cf-mitigated", "").strip().lower() == "challenge":
        return Block.CHALLENGE
    if status in _REDIRECTS:
        return Block.CONSENT if _leads_to_consent(headers.get("location", "")) else None
    if status not in _STATUSES or _PICTURE.match(body[:16]):
        return None
    start = body[:_START].lower()
    if status == 202 and not start.strip():
        return Block.CHALLENGE
    block = _block_in(start)
    if block is None and status == 202 and b"<script" in start and not _is_answer(body):
        return Block.CHALLENGE
    # IMDb's and others' ordinary pages load some of the same scripts.
    if block is not None and (status == 200 or block is Block.CONSENT) and _is_answer(body):
        return None
    return block


def _block_in(start: bytes) -> Block | None:
    # First: a captcha's page loads the challenge's script too.
    if any(mark in start for mark in _CAPTCHAS):
        return Block.CAPTCHA
    if any(mark in start for mark in _CHALLENGES):
        return Block.CHALLENGE
    asks = b"<form" in start or b"<button" in start or b"<iframe" in start
    is_consent = asks and (b"cookie" in start or b"privacy" in start) and _CONSENT_MARKS.search(start) is not None
    return Block.CONSENT if is_consent else None


def _is_answer(body: bytes) -> bool:
    return any(mark in body for mark in _ANSWERS)


def _leads_to_consent(location: str) -> bool:
    """Whether a redirect goes to a page that asks for consent, by its host or its first path segment."""
    try:
        parts = urlsplit(location.strip()[:2000].lower())
        host = parts.hostname or ""
    except ValueError:
        return False
    return host.startswith(("consent.", "guce.", "cmp.")) or re.match(r"/[a-z-]*consent\b", parts.path) is not None
