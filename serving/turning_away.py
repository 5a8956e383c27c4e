"""In an overload HAProxy lets as few in as `serving.admission` does, by rules of its own.

A replica that turns a request away says so, and HAProxy then turns away what comes next: that costs it next to nothing,
and a replica time of its interpreter, for which those that it serves wait.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from serving.admission import BUSY, CALM_S, OVERLOAD_HEADER, RETRY_AFTER_S
from serving.problems import MEDIA_TYPE, Problem

_COUNT = "onesheet_turned_away"
# A backend that nothing is sent to: where HAProxy counts, for `turned_away`.
SECTION = f"backend {_COUNT}\n    stick-table type integer size 1 store gpc0\n"
_PATIENCE_S = 1.0


def rules(*, most_in_overload: int) -> str:
    """Lines for a backend, with BACKEND in place of its name; for requests that bring posters.

    They need SECTION beside. most_in_overload: that are inside for each replica, until nobody had to be turned away for
    five seconds.
    """
    busy = Problem(title="Service Unavailable", status=503, detail=BUSY, reason=None).model_dump_json(exclude_none=True)
    answer = busy.replace(" ", "\\ ").replace('"', '\\"')
    told = f"content-type {MEDIA_TYPE} string {answer} hdr Retry-After {RETRY_AFTER_S}"
    turned_away = f"http-request return status 503 {told}"
    return f"""\
    stick-table type integer size 1 expire {CALM_S:.0f}s store gpc0
    acl brings_posters method POST
    acl in_overload int(1),in_table(BACKEND)
    http-request set-var(txn.replicas) nbsrv(BACKEND)
    http-request set-var(txn.inside) be_conn(BACKEND),div(txn.replicas)
    acl is_enough var(txn.inside) -m int gt {most_in_overload}
    http-request track-sc0 int(1) if brings_posters in_overload is_enough
    http-request track-sc1 int(1) table {_COUNT} if brings_posters in_overload is_enough
    http-request sc-inc-gpc0(1) if brings_posters in_overload is_enough
    {turned_away} if brings_posters in_overload is_enough
    http-response track-sc0 int(1) if {{ res.hdr({OVERLOAD_HEADER}) -m found }}
"""


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
