"""`onesheet cluster …`: several Ray nodes on this machine, and drills with them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from cluster.console import JsonFlag, finish, say
from cluster.errors import ClusterError
from cluster.processes import sigterm_as_exit
from cluster.testbed.record import DEFAULT_NAME, names

cluster_app = typer.Typer(
    no_args_is_help=True,
    help="A Ray cluster of several nodes on this machine, to rehearse what a real one goes through.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ASKED_BY_NODES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "ONESHEET_REHEARSAL")

NameOption = Annotated[str, typer.Option("--name", help="Of the cluster, where this machine has several.")]
NodeArgument = Annotated[str, typer.Argument(help="head, worker1, worker2, …", show_default=False)]


@cluster_app.command("up")
def up(
    nodes: Annotated[int, typer.Option(min=1, help="The head among them.")] = 3,
    cpus_per_node: Annotated[int, typer.Option(min=0, help="What each node offers, whatever the machine has.")] = 1,
    head_cpus: Annotated[
        int | None, typer.Option(min=0, help="Of the head; 0 keeps tasks off it.", show_default="as the others")
    ] = None,
    object_store_mb: Annotated[
        int | None,
        typer.Option(
            help="Of each node; by default an even part of 30% of this machine's shared memory, 80 to 512.",
            show_default=False,
        ),
    ] = None,
    disk_mb: Annotated[int, typer.Option(min=64, help="Of each worker node, as a RAM disk.")] = 1024,
    plain: Annotated[
        bool, typer.Option("--plain", help="All nodes at this machine's address, also where it allows a network.")
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE for the nodes, over this shell's variables; {host} stands for the address "
            "at which they reach this machine.",
            show_default=False,
        ),
    ] = None,
    name: NameOption = DEFAULT_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Start a Ray cluster of several nodes on this machine, which stays until `onesheet cluster down`.

    As root on Linux each worker node has a network namespace with an address, a disk and shared memory of its own.
    Elsewhere the nodes share this machine's.

    \b
    Examples:
      onesheet cluster up --nodes 3
      onesheet cluster up --nodes 2 --cpus-per-node 4 --json
      onesheet cluster up --env AWS_ENDPOINT_URL_S3=http://{host}:9000
    """
    import os  # noqa: PLC0415

    from cluster.testbed.start import Wanted  # noqa: PLC0415
    from cluster.testbed.start import up as start  # noqa: PLC0415

    given = dict(each.partition("=")[::2] for each in env or [])
    if unnamed := [each for each in env or [] if not each.partition("=")[0] or "=" not in each]:
        raise ClusterError(f"--env {unnamed[0]}: give it as NAME=VALUE")
    wanted = Wanted(
        nodes=nodes,
        cpus_per_node=cpus_per_node,
        head_cpus=head_cpus,
        object_store_mb=object_store_mb,
        disk_mb=disk_mb,
        is_plain=plain,
        environment=given,
    )
    say(f"starting {nodes} nodes…")
    with sigterm_as_exit():
        bed = start(wanted, name)
    own = [node for node in bed.record.nodes if not node.is_head]
    if bed.record.network is None and own:
        say("one address for all nodes: " + ("asked for" if plain else "network namespaces need root on Linux"))
    if own and not all(node.has_disk for node in own):
        say("no disks of their own: this user may not mount one")
    if bed.record.network is not None:
        for variable in _ASKED_BY_NODES:
            if urlsplit(given.get(variable, os.environ.get(variable, ""))).hostname in _LOOPBACK:
                say(f"{variable} is this machine's loopback, which the nodes do not reach; serve it at {bed.host}")
    for variable, value in bed.environment().items():
        say(f"export {variable}={value}")
    rows = [{"node": node.name, "address": node.address, "disk": node.has_disk} for node in bed.record.nodes]
    result = {"name": name, "address": bed.address, "dashboard_url": bed.dashboard_url, "nodes": rows}
    table = Table("node", "address", "CPUs", "object store", "folder")
    for node in bed.record.nodes:
        store = f"{bed.record.object_store_bytes >> 20} MB"
        table.add_row(node.name, node.address, str(bed.record.cpus_of(node)), store, str(node.folder))
    finish(result | {"environment": bed.environment()}, as_json=as_json, table=table)


@cluster_app.command("down")
def down(
    name: NameOption = DEFAULT_NAME,
    everything: Annotated[bool, typer.Option("--all", help="All that this user has started on this machine.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove a cluster whole: processes, network, disks and folders, also after a crash; none is no error.

    \b
    Examples:
      onesheet cluster down
      onesheet cluster down --all
    """
    from cluster.testbed.start import down as remove  # noqa: PLC0415

    removed = [each for each in (names() if everything else [name]) if remove(each)]
    finish({"removed": removed}, as_json=as_json, table=", ".join(removed) + " removed" if removed else "nothing there")


@cluster_app.command("status")
def status(name: NameOption = DEFAULT_NAME, as_json: JsonFlag = False) -> None:
    """Show each node: what Ray holds of it, its processes, its disk, and whether it is cut off.

    \b
    Examples:
      onesheet cluster status
      onesheet cluster status --json
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    bed = attach(name)
    alive: dict[str, Any] = {}
    try:
        alive = bed.ray_nodes()
    except ClusterError as error:
        say(str(error))
    rows: list[dict[str, Any]] = []
    for node in bed.record.nodes:
        cuts = [pair for pair in bed.record.is_cut if node.name in pair.split()]
        rows.append(
            {
                "node": node.name,
                "address": node.address,
                "alive": node.name in alive,
                "processes": len(bed.processes(node.name)),
                "disk_free_mb": bed.disk_free_mb(node.name),
                "cut": ["all" if each == node.name else each.replace(node.name, "").strip() for each in cuts],
            }
        )
    table = Table("node", "address", "Ray says", "processes", "disk free", "cut off from")
    for row in rows:
        free = "" if row["disk_free_mb"] is None else f"{row['disk_free_mb']} MB"
        says = "alive" if row["alive"] else "dead"
        table.add_row(row["node"], row["address"], says, str(row["processes"]), free, ", ".join(row["cut"]))
    finish({"name": name, "address": bed.address, "nodes": rows}, as_json=as_json, table=table)


@cluster_app.command("kill")
def kill(
    node: NodeArgument,
    power_off: Annotated[
        bool, typer.Option("--power-off", help="Its connections are not closed either, but fall silent.")
    ] = False,
    name: NameOption = DEFAULT_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Kill every process of a node at once. `onesheet cluster start` brings it back.

    \b
    Examples:
      onesheet cluster kill worker1
      onesheet cluster kill worker1 --power-off
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    attach(name).kill(node, power_off=power_off)
    say(f"{node} is dead; bring it back: onesheet cluster start {node}")
    finish({"node": node, "alive": False}, as_json=as_json)


@cluster_app.command("start")
def start_node(node: NodeArgument, name: NameOption = DEFAULT_NAME, as_json: JsonFlag = False) -> None:
    """Start a node that was killed: a worker node as an empty machine, the head with its table of jobs.

    \b
    Examples:
      onesheet cluster start worker1
      onesheet cluster start head
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    attach(name).start(node)
    say(f"{node} has joined")
    finish({"node": node, "alive": True}, as_json=as_json)


@cluster_app.command("cut")
def cut(
    node: NodeArgument,
    other: Annotated[
        str | None, typer.Option("--from", help="From this node alone, not from all.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Then it is mended; also by Ctrl-C.")] = 60,
    name: NameOption = DEFAULT_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Cut a worker node off from the network, or from one other node, for a while.

    \b
    Examples:
      onesheet cluster cut worker1 --seconds 60
      onesheet cluster cut worker1 --from worker2
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    bed = attach(name)
    bed.cut(node, other)
    say(f"{node} is cut off from {other or 'all'} for {seconds:g} s")
    with _mended(lambda: bed.mend(node, other)):
        time.sleep(seconds)
    say("mended")
    finish({"node": node, "from": other, "seconds": seconds}, as_json=as_json)


@cluster_app.command("drain")
def drain(
    node: NodeArgument,
    deadline: Annotated[int, typer.Option(min=1, help="Seconds until it may be gone.")] = 30,
    kill_then: Annotated[bool, typer.Option("--kill", help="Wait for the deadline, and kill it.")] = False,
    name: NameOption = DEFAULT_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Give a node the notice that a spot machine gets before it is taken away.

    \b
    Examples:
      onesheet cluster drain worker1
      onesheet cluster drain worker1 --deadline 120 --kill
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    bed = attach(name)
    bed.drain(node, deadline_s=deadline)
    say(f"{node} takes nothing new, and may be gone in {deadline} s")
    if kill_then:
        time.sleep(deadline)
        bed.kill(node, power_off=bed.record.network is not None)
        say(f"{node} is gone; bring it back: onesheet cluster start {node}")
    finish({"node": node, "deadline_s": deadline, "alive": not kill_then}, as_json=as_json)


@cluster_app.command("fill")
def fill(
    node: NodeArgument,
    seconds: Annotated[float, typer.Option(min=0, help="Then it is emptied; also by Ctrl-C.")] = 60,
    name: NameOption = DEFAULT_NAME,
    as_json: JsonFlag = False,
) -> None:
    """Fill up a worker node's disk for a while, on which Ray's logs and all temporary files are.

    \b
    Examples:
      onesheet cluster fill worker1
      onesheet cluster fill worker1 --seconds 300
    """
    from cluster.testbed.bed import attach  # noqa: PLC0415

    bed = attach(name)
    with _mended(lambda: bed.empty(node)):
        written = bed.fill(node)
        say(f"{written >> 20} MB written: the disk of {node} is full for {seconds:g} s")
        time.sleep(seconds)
    say("emptied")
    finish({"node": node, "written_bytes": written, "seconds": seconds}, as_json=as_json)


@contextlib.contextmanager
def _mended(mend: Any) -> Iterator[None]:
    with sigterm_as_exit():
        try:
            yield
        finally:
            mend()
