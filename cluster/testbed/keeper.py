"""Removes a testbed once the process that started this one is gone: its end closes our standard input."""

from __future__ import annotations

import signal
import sys

from cluster.testbed.start import down

if __name__ == "__main__":
    # A Ctrl-C is its parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    down(sys.argv[1])
