"""Pure, but for a question: what HAProxy does with requests by rules of ours, and what it counts by them.

- In an overload it lets as few in as `serving.admission` does. A replica that turns a request away says so, and HAProxy
  then turns away what comes next: that costs it next to nothing, and a replica time of its interpreter, for which those
  that it serves wait.
- It hands a request on once it has it whole, or so much of it as it keeps. So a replica hears of it once, and HAProxy
  can ask another replica where one is killed. No request changes anything, so it may be asked twice.
- Ray would have two more tasks watch each caller; `serving.turns` looks when a request has waited for its turn.
- What it says itself are problems too.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from serving.admission import BUSY, CALM_S, OVERLOAD_HEADER, RETRY_AFTER_S
from serving.problems import MEDIA_TYPE, ProblemError

_COUNT = "onesheet_turned_away"
# A backend that nothing is sent to: where HAProxy counts, for `turned_away`.
SECTION = f"backend {_COUNT}\n    stick-table type integer size 1 store gpc0\n"
_BODY_S = 60
_ERRORS = {
    408: f"the request was not there within {_BODY_S} s; send fewer posters at once",
    502: "the replica that had this request has ended; ask again",
    503: "no replica is there to answer; ask again later",
    504: "the replica did not answer in time; ask again later",
}
_PATIENCE_S = 1.0


def rules(*, most_in_overload: int) -> str:
    """Lines for a backend, with BACKEND in place of its name. They need SECTION beside.

    most_in_overload: requests that bring posters and are inside for each replica, until nobody had to be turned away
    for five seconds.
    """
    errors = "".join(
        f"    http-error status {status} {_answer(status, detail)}\n" for status, detail in _ERRORS.items()
    )
    return f"""\
    stick-table type integer size 1 expire {CALM_S:.0f}s store gpc0
    acl brings_posters method POST
    acl in_overload int(1),in_table(BACKEND)
    http-request set-header X-Request-Disconnect-Disabled ?1
    http-request set-var(txn.replicas) nbsrv(BACKEND)
    http-request set-var(txn.inside) be_conn(BACKEND),div(txn.replicas)
    acl is_enough var(txn.inside) -m int gt {most_in_overload}
    http-request track-sc0 int(1) if brings_posters in_overload is_enough
    http-request track-sc1 int(1) table {_COUNT} if brings_posters in_overload is_enough
    http-request sc-inc-gpc0(1) if brings_posters in_overload is_enough
    http-request return status 503 {_answer(503, BUSY)} if brings_posters in_overload is_enough
    http-request wait-for-body time {_BODY_S}s if brings_posters
    http-response track-sc0 int(1) if {{ res.hdr({OVERLOAD_HEADER}) -m found }}
{errors}"""


def _answer(status: int, detail: str) -> str:
    """A problem as HAProxy is told what to answer; a 503 with when to ask again."""
    text = ProblemError(status, detail).problem.model_dump_json(exclude_none=True)
    escaped = text.replace(" ", "\\ ").replace('"', '\\"')
    again = f" hdr Retry-After {RETRY_AFTER_S}" if status == 503 else ""
    return f"content-type {MEDIA_TYPE} string {escaped}{again}"


def turned_away(admin_socket: Path) -> int | None:
    """How many requests HAProxy has turned away since Ray wrote its configuration last; None where it does not tell.

    admin_socket: HAProxy's.
    """
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(_PATIENCE_S)
            asked.connect(str(admin_socket))
            asked.sendall(f"show table {_COUNT}\n".encode())
            with asked.makefile() as answer:
                told = answer.read()
    except OSError:
        return None
    if f"# table: {_COUNT}," not in told:
        return None
    found = re.search(r"gpc0=(\d+)", told)
    return int(found[1]) if found else 0
