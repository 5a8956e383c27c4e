"""`onesheet doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.settings import load_settings

if TYPE_CHECKING:
    from cluster.checks import Finding

_MARKS = {"fine": "[green]✓[/]", "warning": "[yellow]![/]", "broken": "[bold red]✗[/]"}


def doctor(
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="A cluster to look at: host:port, or auto.", show_default="ONESHEET_RAY_ADDRESS, RAY_ADDRESS"
        ),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=1, help="For each node's answer.")] = 120,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Look for what is missing on this machine, or on every node of a Ray cluster, and say how to mend it.

    Versions, the store, ports, clocks, disk, shared memory, memory, GPUs. Exits with 1 if something is broken. Run it
    as a job to look at a cluster from inside: [bold]onesheet submit doctor[/].

    [bold]Examples[/]

        onesheet doctor

        onesheet doctor --ray-address ray-head:6379 --store s3://bucket/onesheet --json
    """
    import os  # noqa: PLC0415

    from cluster.checks import Level, diagnose  # noqa: PLC0415  help stays quick
    from cluster.doctor import free_ports_here, look_at_cluster, look_here  # noqa: PLC0415  as above

    settings = load_settings(store=store, ray_address=ray_address or os.environ.get("ONESHEET_RAY_ADDRESS"))
    is_cluster = (settings.ray_address or os.environ.get("RAY_ADDRESS") or "local") != "local"
    if is_cluster:
        found = diagnose(look_at_cluster(settings, timeout_s=timeout_s))
    else:
        found = [*diagnose(look_here(settings)), *free_ports_here()]
    broken = sum(finding.level is Level.BROKEN for finding in found)
    told = [
        {"check": it.check, "node": it.node, "level": it.level.value, "what": it.what, "remedy": it.remedy}
        for it in found
    ]
    finish({"is_well": not broken, "findings": told}, as_json=as_json, table=None if as_json else _table(found))
    if broken:
        say(f"[bold red]{broken} broken[/]: mend them from the top, since one may be the cause of the next")
        raise typer.Exit(1)


def _table(found: list[Finding]) -> Any:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "check", "node"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold")
    for finding in found:
        what = escape(finding.what) + (f"\n[dim]→ {escape(finding.remedy)}[/]" if finding.remedy else "")
        table.add_row(_MARKS[finding.level], finding.check, escape(finding.node), what)
    return table
