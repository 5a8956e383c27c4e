"""`onesheet pipeline`: from a catalogue to a promoted model, to be called again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, console, finish
from cluster.errors import OnesheetError
from cluster.pipeline.definition import Pipeline, PipelineError, check_options, read_pipeline
from cluster.pipeline.lease import BusyError, Lease
from cluster.pipeline.plan import Facts
from cluster.pipeline.record import Record, folder_of
from cluster.pipeline.run import Run, plan_stages, redo
from cluster.pipeline.runners import Runner, local_runner
from cluster.pipeline.surroundings import leave_in_store, look_around
from cluster.processes import sigterm_as_exit
from cluster.settings import Settings, as_environment, load_settings
from cluster.store import Store, open_store

# As sendmail's EX_TEMPFAIL: try again later.
BUSY_EXIT_CODE = 75
_EXAMPLE = Path(__file__).with_name("example.toml")
_WAIT_LOOK_S = 2.0


def pipeline(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What to do: see --example.")] = Path("pipeline.toml"),
    example: Annotated[bool, typer.Option("--example", help="Print a file to begin with.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and why; nothing starts.")] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="A Ray job server, http://host:8265: each stage is a job there, and not a process here.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[
        str | None,
        typer.Option(
            "--redo", help="Do this stage anew though nothing changed, and what follows from it.", show_default=False
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait where another call of it runs.")] = 0,
    retries: Annotated[int, typer.Option(min=0, help="Starts more of a stage whose process or node dies.")] = 2,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors, as for cron.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the stages say.")] = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Crawl, prepare, train, evaluate and promote as one run, which can be cut off anywhere and goes on.

    A stage whose inputs are those of the last time is skipped, one that was cut off or failed goes on,
    and the new model is put into production only if it beats the one there on test posters that neither
    has learned from. Two calls at once are safe: the second leaves at once.

    \b
    Exit codes:
      0    done, whether the model was promoted or not
      1    a stage failed, or the file is wrong; the same call goes on
      2    no such option
      75   another call of this pipeline runs
      130  stopped by Ctrl-C, 143 by SIGTERM; the same call goes on

    \b
    Examples:
      onesheet pipeline --example > pipeline.toml
      onesheet pipeline --dry-run
      onesheet pipeline nightly.toml --quiet --json
      onesheet pipeline --address http://ray-head:8265 --wait 60
      onesheet pipeline --redo train
    """
    if example:
        typer.echo(_EXAMPLE.read_text(encoding="utf-8"), nl=False)
        return
    found = read_pipeline(file)
    check_options(found, ctx.find_root().command)
    if again is not None and again not in found.stages:
        raise PipelineError(f"--redo {again}: the stages of {file} are {', '.join(found.stages)}")
    settings = load_settings(store=store)
    place = open_store(settings.store)
    facts = look_around(found, settings)
    if dry_run:
        _tell_plan(found, facts, place, again, as_json=as_json)
        return
    from cluster.pipeline.display import watching  # noqa: PLC0415

    began = time.monotonic()
    call = _Call(found, facts, settings, place)
    with watching(quiet=quiet, verbose=verbose) as watcher:
        code = call.make(address=address, again=again, wait_s=wait, retries=retries, watcher=watcher)
    call.tell(code, time.monotonic() - began, quiet=quiet, as_json=as_json)
    if code:
        raise typer.Exit(code)


class _Call:
    """One call, from the lease to the exit code."""

    def __init__(self, pipeline: Pipeline, facts: Facts, settings: Settings, store: Store) -> None:
        self._pipeline, self._facts, self._settings, self._store = pipeline, facts, settings, store
        self._run: Run | None = None
        self._status, self._error = "done", ""

    def make(self, *, address: str | None, again: str | None, wait_s: float, retries: int, watcher: Any) -> int:
        """Returns the exit code; every way to end has one."""
        try:
            with sigterm_as_exit(), contextlib.ExitStack() as stack:
                self._store.check()
                lease = stack.enter_context(self._held(wait_s))
                runner = stack.enter_context(self._runner(address))
                self._run = Run(
                    self._pipeline,
                    self._facts,
                    self._store,
                    runner,
                    still_ours=lease.check,
                    retries=retries,
                    watcher=watcher,
                )
                self._run.carry_out(again=again)
        except BusyError as error:
            self._status, self._error = "busy", str(error)
            return BUSY_EXIT_CODE
        except OnesheetError as error:
            self._status, self._error = "failed", str(error)
            return 1
        except KeyboardInterrupt:
            self._status, self._error = "stopped", "stopped by Ctrl-C; the same call goes on"
            return 130
        except SystemExit as error:
            self._status, self._error = "stopped", "stopped by SIGTERM; the same call goes on"
            return int(error.code or 0)
        return 0

    def tell(self, code: int, seconds: float, *, quiet: bool, as_json: bool) -> None:
        """The error on standard error, then the result on standard output, the last line where the two are one."""
        from cluster.pipeline.display import report_table  # noqa: PLC0415

        reports = self._run.reports if self._run else []
        if self._error:
            console.print(f"[bold red]onesheet:[/] {escape(self._error)}")
        if as_json:
            told: dict[str, Any] = {"pipeline": self._pipeline.name, "status": self._status, "exit_code": code}
            told["seconds"] = round(seconds, 1)
            results = {report.stage: report.result for report in reports}
            for name, stage in (("crawl_id", "crawl"), ("dataset_id", "prepare"), ("version", self._pipeline.learner)):
                told[name] = results.get(stage, {}).get(name)
            for name in ("promoted", "production", "reason"):
                told[name] = results.get("promote", {}).get(name)
            if self._error:
                told["error"] = self._error
            finish({**told, "stages": [report.to_dict() for report in reports]}, as_json=True)
        elif reports and not quiet:
            finish({}, as_json=False, table=report_table(reports))

    @contextlib.contextmanager
    def _held(self, wait_s: float) -> Iterator[Lease]:
        """The lease, waited for."""
        folder, what = f"{folder_of(self._pipeline.name)}lease/", f"pipeline {self._pipeline.name}"
        deadline = time.monotonic() + wait_s
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    lease = stack.enter_context(Lease(self._store, folder, what=what))
                    break
                except BusyError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(min(_WAIT_LOOK_S, max(0.0, deadline - time.monotonic())))
            yield lease

    @contextlib.contextmanager
    def _runner(self, address: str | None) -> Iterator[Runner]:
        if address is None:
            place = f"{self._store.url} {self._pipeline.name}"
            with local_runner(place, {"ONESHEET_STORE": self._store.url}) as runner:
                yield runner
            return
        from cluster.pipeline.job_runner import JobRunner  # noqa: PLC0415

        self._facts = replace(self._facts, catalog_path=leave_in_store(self._pipeline, self._facts, self._store))
        yield JobRunner(address, {**as_environment(self._settings), "ONESHEET_STORE": self._store.url})


def _tell_plan(pipeline: Pipeline, facts: Facts, store: Store, again: str | None, *, as_json: bool) -> None:
    from cluster.pipeline.display import plan_table  # noqa: PLC0415

    record = Record.load(store, pipeline.name)
    if again is not None:
        redo(record, again)
    planned = plan_stages(pipeline, facts, record)
    told = [
        {"stage": step.stage, "action": verdict.action.value, "reason": verdict.reason, "command": list(step.command)}
        for step, verdict in planned
    ]
    result = {"pipeline": pipeline.name, "status": "planned", "stages": told}
    finish(result, as_json=as_json, table=None if as_json else plan_table(planned))
