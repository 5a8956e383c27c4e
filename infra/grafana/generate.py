"""Writes Grafana's dashboards from dashboards.toml: `python infra/grafana/generate.py`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
# Grafana's grid is 24 wide.
_WIDTH, _HEIGHT = 12, 8
# Of the dashboard's JSON: Grafana 10 and later read it, and bring it up to their own.
_SCHEMA_VERSION = 39
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboards() -> Iterator[tuple[str, str]]:
    """Each dashboard's file name and text."""
    with (FOLDER / "dashboards.toml").open("rb") as source:
        for each in tomllib.load(source)["dashboard"]:
            text = json.dumps(_dashboard(each), indent=2, ensure_ascii=False)
            yield f"{each['uid'].removeprefix('onesheet-')}.json", f"{text}\n"


def _dashboard(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": source["uid"],
        "title": source["title"],
        "tags": ["onesheet"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source_variable(), _variable(**source["variable"])]},
        "panels": [_panel(number, panel) for number, panel in enumerate(source["panel"])],
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, of: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({of}, {name})", "refId": name},
        "definition": f"label_values({of}, {name})",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        # At each change of the time range: what is gone is not offered.
        "refresh": 2,
        "sort": 2,
    }


def _panel(number: int, source: dict[str, Any]) -> dict[str, Any]:
    is_stacked = source.get("stacked", False)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": source["title"],
        "description": source.get("about", ""),
        "datasource": _SOURCE,
        "gridPos": {"x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": source["unit"],
                "min": 0,
                "custom": {
                    "fillOpacity": 30 if is_stacked else 0,
                    "stacking": {"mode": "normal" if is_stacked else "none"},
                },
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(source["expressions"].items())
        ],
    }


if __name__ == "__main__":
    for name, text in dashboards():
        (FOLDER / "dashboards" / name).write_text(text, encoding="utf-8")
