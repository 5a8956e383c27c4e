"""Mangled names of titles, repaired where their bytes still tell what they were."""

from __future__ import annotations

import contextlib
import re
import unicodedata

from ftfy import TextFixerConfig, fix_and_explain
from ftfy.badness import is_bad

# Only what came of a wrong charset or of HTML: curly quotes and wide letters are how a title is written.
_CONFIG = TextFixerConfig(
    unescape_html=True,
    fix_character_width=False,
    fix_latin_ligatures=False,
    fix_line_breaks=False,
    uncurl_quotes=False,
    normalization=None,
    explain=False,
)


def repaired_name(text: str) -> str:
    """`Café` from `CafÃ©`, `Tom & Jerry` from `Tom &amp; Jerry`; any other name as it is."""
    # ftfy takes 10 to 90 us a name, its own test for suspicious characters 1 to 8.
    if text.isascii():
        if "&" not in text or ";" not in text:
            return text
    elif not is_bad(text) and ("&" not in text or ";" not in text):
        return text
    fixed = fix_and_explain(text, _CONFIG).text.strip()
    # A pair such as "Ì©" is valid UTF-8 for a combining mark; a name never gains one by a repair.
    return fixed if fixed and _marks(fixed) <= _marks(text) else text


def repaired_kaggle_name(text: str) -> str:
    """As `repaired_name`, and undoes how MovieGenre.csv was mangled: `Double zéro` from `Double zÌ©ro`.

    There UTF-8 was read as ISO-8859-1, written as Mac Roman and read as ISO-8859-1 again, some names twice over.
    Letters whose second byte Mac Roman lacks became `_` (`PÌ_tkÌ_`), for good.
    """
    return (
        text if text.isascii() and "&" not in text else repaired_name(_MAC.sub(lambda pair: _MAC_PAIRS[pair[0]], text))
    )


def _marks(text: str) -> int:
    return sum(map(unicodedata.combining, text)) if not text.isascii() else 0


def _mac_pairs() -> dict[str, str]:
    """Each mangled pair and the character that it was.

    The file comes as ISO-8859-1 and as UTF-8: a pair such as CC A9 then reads as `Ì©` or as one combining mark.
    Pairs that words are made of are left alone: `íç` may be `á`, but is also in the middle of `suíço`.
    """
    pairs = {}
    for was in map(chr, range(0xA1, 0x100)):
        # Mac Roman lacks some characters: those pairs were lost.
        with contextlib.suppress(UnicodeEncodeError):
            once = _through_mac(was.encode().decode("sloppy-windows-1252"))
            if once[0] == "Ì" or not once[1].islower():
                pairs[once] = was
                with contextlib.suppress(UnicodeDecodeError):
                    pairs[once.encode("iso-8859-1").decode()] = was
            twice = _through_mac(once)
            if not twice[1].isalpha():
                pairs[twice] = was
    return pairs


def _through_mac(text: str) -> str:
    return text.encode("mac_roman").decode("iso-8859-1")


_MAC_PAIRS = _mac_pairs()
_MAC = re.compile("|".join(map(re.escape, sorted(_MAC_PAIRS, key=len, reverse=True))))
