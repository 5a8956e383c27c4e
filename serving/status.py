"""The server's part of `onesheet status`: whether the endpoint is alive, and which model it has loaded."""

from __future__ import annotations

import json

from rich.markup import escape

from cluster.errors import ServingError
from cluster.overview import Part, Section, Where

_TIMEOUT_S = 5.0


def _endpoint(where: Where) -> Section:
    import urllib3  # noqa: PLC0415  help stays quick

    url = where.endpoint.rstrip("/")
    try:
        answer = urllib3.request("GET", f"{url}/readyz", timeout=_TIMEOUT_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise ServingError(f"no endpoint answers at {url} ({type(error).__name__}): onesheet serve") from error
    try:
        told = json.loads(answer.data)
    except ValueError:
        told = None
    if not isinstance(told, dict) or (answer.status, "version" in told) not in ((200, True), (503, False)):
        raise ServingError(f"what answers at {url} is no endpoint of ours: status {answer.status}")
    if answer.status == 200:
        state = f"ready, serves {escape(str(told.get('version')))}"
    else:
        state = f"[yellow]not ready[/] ({answer.status}): {escape(str(told.get('detail') or told.get('title') or ''))}"
    data = {"url": url, "is_ready": answer.status == 200, "status": answer.status, "version": told.get("version")}
    return Section("endpoint", [(url, state)], data)


endpoint_section = Part("endpoint", _endpoint)
