"""API keys: whose a key is, and that no sentence shows one."""

from __future__ import annotations

import pytest

from cluster.errors import ServingError
from serving.keys import Keys

ALICE, BOB = "a" * 24, "b" * 24


def test_a_key_names_its_caller_and_no_other_does() -> None:
    keys = Keys.read(f" alice={ALICE}, bob={BOB}=,")
    assert keys.name_of(ALICE) == "alice"
    assert keys.name_of(BOB + "=") == "bob"
    for wrong in ("", ALICE[:-1], ALICE + "a", BOB, "alice", "ä"):
        assert keys.name_of(wrong) is None
    assert ALICE not in repr(keys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALICE, "cannot be read"),
        ("", "cannot be read"),
        ("alice=short", "the key of alice is too short"),
        (f"alice={ALICE} x", "odd characters"),
        (f"a b={ALICE}", "'a b' is no name"),
        (f"alice={ALICE},alice={BOB}", "a name stands there twice"),
        (f"alice={ALICE},bob={ALICE}", "two names have the same key"),
    ],
)
def test_keys_that_will_not_do_are_told_without_being_shown(text: str, said: str) -> None:
    with pytest.raises(ServingError, match=said) as caught:
        Keys.read(text)
    assert ALICE not in str(caught.value)
