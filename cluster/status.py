"""`onesheet status`: the parts of every floor on one screen; here the nodes and jobs of the Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cluster.console import JsonFlag, StoreOption, finish
from cluster.job_commands import AddressOption, duration
from cluster.job_server import DEFAULT_ADDRESS, JobServer
from cluster.overview import Part, Section, Where, gather
from cluster.settings import load_settings

_UNITS = {"CPU": "CPU", "GPU": "GPU", "memory": "GB memory", "object_store_memory": "GB for objects"}
_LATEST_JOBS = 3


def status_of(*parts: Part) -> Callable[..., None]:
    """The command that shows these parts."""

    def status(
        address: AddressOption = DEFAULT_ADDRESS,
        endpoint: Annotated[str, typer.Option(help="The HTTP endpoint's address.")] = "http://127.0.0.1:8000",
        store: StoreOption = None,
        as_json: JsonFlag = False,
    ) -> None:
        """Show nodes, resources, jobs, the latest crawl, dataset and models, and the endpoint's health.

        What is absent or does not answer says so, and takes nothing from the rest.

        [bold]Examples[/]

            onesheet status

            onesheet status --address http://ray-head:8265 --endpoint https://genres.example.org --json
        """
        settings = load_settings(store=store)
        found = gather(parts, Where(settings, address, endpoint))
        told = {section.title: section.data or {"problem": section.problem} for section in found}
        finish(told, as_json=as_json, table=None if as_json else screen(found))

    return status


def screen(sections: list[Section]) -> Any:
    """The sections as one table."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for section in sections:
        lines = [("", f"[yellow]{escape(section.problem)}[/]")] if section.problem else section.lines
        for number, (what, how) in enumerate(lines or [("", "[dim]none[/]")]):
            table.add_row("" if number else section.title, escape(what), how)
    return table


def _nodes(where: Where) -> Section:
    server = JobServer(where.address)
    with server.explained():
        nodes = server.client._do_request("GET", "/api/v0/nodes?limit=10000").json()["data"]["result"]["result"]
        usage = _usage(server)
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    lost = len(nodes) - len(alive)
    lines = [("nodes", f"{len(alive)} alive" + (f", [yellow]{lost} lost[/]" if lost else ""))]
    total: dict[str, float] = {}
    for node in alive:
        for name, amount in node["resources_total"].items():
            if name in _UNITS:
                total[name] = total.get(name, 0) + amount
    for name, unit in _UNITS.items():
        if total.get(name):
            scale = 1e9 if "memory" in name else 1
            used = f"{usage[name] / scale:.3g} of " if name in usage else ""
            lines.append((unit, f"{used}{total[name] / scale:.3g}{' in use' if used else ''}"))
    for node in alive[:20]:
        has = node["resources_total"]
        gpus = f", {has['GPU']:g} GPU" if has.get("GPU") else ""
        head = ", head" if node["is_head_node"] else ""
        lines.append((node["node_ip"], f"{has.get('CPU', 0):g} CPU{gpus}{head}"))
    if len(alive) > 20:
        lines.append(("", f"and {len(alive) - 20} more"))
    kept = [{name: node[name] for name in ("node_id", "node_ip", "state", "is_head_node")} for node in nodes]
    return Section("cluster", lines, {"address": server.address, "nodes": kept, "total": total, "used": usage})


def _usage(server: JobServer) -> dict[str, float]:
    """What is in use by name, as `ray status` tells; empty until the cluster's monitor has looked."""
    answer = server.client._do_request("GET", "/api/cluster_status").json()
    report = ((answer.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}
    return {name: float(used) for name, (used, _) in (report.get("usage") or {}).items() if name in _UNITS}


def _jobs(where: Where) -> Section:
    from cluster.job_table import list_jobs  # noqa: PLC0415

    found = list_jobs(JobServer(where.address))
    at_work = [job for job in found if not job.status.is_end]
    ended = [job for job in found if job.status.is_end][:_LATEST_JOBS]
    lines = [("at work", str(len(at_work)))]
    lines += [
        (job.submission_id, f"{job.status.lower()} {duration(job.seconds)}: {escape(job.command)}") for job in at_work
    ]
    ago = time.time()
    for job in ended:
        since = duration(ago - job.ended_at.timestamp()) if job.ended_at else "a while"
        lines.append((job.submission_id, f"{job.status.lower()} {since} ago: {escape(job.command)}"))
    return Section(
        "jobs", lines, {"at_work": [job.to_dict() for job in at_work], "ended": [j.to_dict() for j in ended]}
    )


nodes_section = Part("cluster", _nodes)
jobs_section = Part("jobs", _jobs)
