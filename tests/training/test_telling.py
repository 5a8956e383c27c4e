"""What workers say by a queue is handed on."""

from __future__ import annotations

from queue import Queue

import pytest

from training.telling import followed


class Said(Queue[str]):
    """A queue as Ray's: whoever reads it ends it."""

    has_ended = False

    def shutdown(self) -> None:
        self.has_ended = True


def test_all_that_was_said_is_handed_on_before_the_end():
    said, heard = Said(), list[str]()
    with followed(said, heard.append):
        for word in ("one", "two", "three"):
            said.put(word)
    assert heard == ["one", "two", "three"]
    assert said.has_ended


def test_what_goes_wrong_with_one_word_is_raised_after_the_others():
    said, heard = Said(), list[str]()

    def follow(word: str) -> None:
        if word == "two":
            raise OSError("the disk is full")
        heard.append(word)

    for word in ("one", "two", "three"):
        said.put(word)
    with pytest.raises(OSError, match="the disk is full"), followed(said, follow):
        pass
    assert heard == ["one", "three"]
