"""Runs a pipeline's stages: what is done is skipped, what was cut off goes on, what died is started again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.errors import ClusterError, StoreUnavailableError
from cluster.pipeline.definition import Pipeline
from cluster.pipeline.plan import Action, Facts, Step, Verdict, check_command, judge, kept, make_step, shaping
from cluster.pipeline.record import Record, StageRecord, folder_of, now
from cluster.pipeline.runners import Runner
from cluster.pipeline.stage_log import Ended, StageLog
from cluster.store import Store

# How long a store may be away, as a server that restarts, before a run gives up.
_STORE_PATIENCE_S = 120.0


class StageError(ClusterError):
    """A stage's command that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What became of a stage. outcome: skipped, ran, continued, failed, stopped; or planned, one of `Action`'s."""

    stage: str
    outcome: str
    reason: str
    seconds: float = 0.0
    attempts: int = 0
    key: str | None = None
    command: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told of what happens: a stage that starts, each line that it says, and its report."""

    begins: Callable[[str, Verdict], None] = lambda stage, verdict: None
    says: Callable[[str, str], None] = lambda stage, line: None
    ends: Callable[[StageReport], None] = lambda report: None


def plan_stages(pipeline: Pipeline, facts: Facts, record: Record) -> list[tuple[Step, Verdict]]:
    """Every stage's command and what would happen to it now; behind one that would run, all depends on that one."""
    planned = []
    results: dict[str, Mapping[str, Any]] = {}
    for stage in pipeline.stages:
        step = make_step(pipeline, stage, facts, results, record.rounds)
        verdict = _judge(pipeline, step, record)
        planned.append((step, verdict))
        if verdict.action is Action.SKIP:
            results[stage] = record.stages[stage].result
    return planned


def redo(record: Record, stage: str) -> None:
    """Let a stage be done anew, though its inputs are the same. Those behind it follow, as they see another result."""
    record.rounds[stage] = record.rounds.get(stage, 0) + 1


class Run:
    """One call of a pipeline. reports: of the stages so far, also when it ends by an exception."""

    def __init__(
        self,
        pipeline: Pipeline,
        facts: Facts,
        store: Store,
        runner: Runner,
        *,
        still_ours: Callable[[], None] = lambda: None,
        retries: int = 2,
        watcher: Watcher | None = None,
    ) -> None:
        """still_ours: raises where another call has taken over. retries: of a stage whose process or node dies."""
        self._pipeline, self._facts, self._store, self._runner = pipeline, facts, store, runner
        self._still_ours, self._retries, self._watcher = still_ours, retries, watcher or Watcher()
        self._record = Record.load(store, pipeline.name)
        self._results: dict[str, Mapping[str, Any]] = {}
        self.reports: list[StageReport] = []

    def carry_out(self, *, again: str | None = None) -> None:
        """All stages to the end. again: a stage to do anew. Raises StageError where one fails."""
        if again is not None:
            redo(self._record, again)
            self._save()
        self._check()
        for stage in self._pipeline.stages:
            step = make_step(self._pipeline, stage, self._facts, self._results, self._record.rounds)
            verdict = _judge(self._pipeline, step, self._record)
            if verdict.action is Action.SKIP:
                done = self._record.stages[stage]
                self._results[stage] = done.result
                self._report(step, "skipped", verdict.reason, done, seconds=0.0)
            else:
                self._watcher.begins(stage, verdict)
                self._do(step, verdict)

    def _check(self) -> None:
        """Let the commands look at their options before hours of work, where these are not those that worked before."""
        if all(verdict.action is Action.SKIP for _, verdict in plan_stages(self._pipeline, self._facts, self._record)):
            return
        for stage in self._pipeline.stages:
            command = check_command(self._pipeline, stage)
            given = shaping(self._pipeline, stage, self._facts)
            before = self._record.stages.get(stage)
            if command is None or (before and before.status == "done" and given.items() <= before.inputs.items()):
                continue
            log = StageLog()
            ended = self._runner.run(command, f"{self._pipeline.name}-check-{stage}-{_moment()}", log, self._still_ours)
            if ended.exit_code != 0:
                raise ClusterError(f"{self._pipeline.source}, [{stage}]: {log.complaint}")

    def _do(self, step: Step, verdict: Verdict) -> None:
        """Run a stage until it has ended by itself."""
        before = self._record.stages.get(step.stage)
        going_on = verdict.action is Action.CONTINUE and before is not None
        entry = StageRecord(key=step.key or "", inputs=step.inputs or {}, started_at=now())
        if going_on and before:
            entry.attempts, entry.started_at = before.attempts, before.started_at
        elif before is not None and before.status == "running":
            # It started from what has changed since, and may run on: two crawls of one name would meet.
            self._runner.stop(_job_id(self._pipeline, step.stage, before))
        self._record.stages[step.stage] = entry
        began = time.monotonic()
        outcome = "continued" if going_on else "ran"
        try:
            log = self._attempts(step, entry, may_follow=going_on and before is not None and before.status == "running")
            entry.result = self._read(step, log)
        except StageError as error:
            entry.status, entry.error = "failed", str(error)
            self._end(step, entry, "failed", verdict.reason, began)
            raise
        except BaseException:
            entry.status = "stopped"
            # Where the store is away or another call has taken over, the record says that it was cut off.
            with contextlib.suppress(ClusterError):
                self._end(step, entry, "stopped", verdict.reason, began)
            raise
        entry.status, entry.ended_at = "done", now()
        self._results[step.stage] = entry.result
        self._end(step, entry, outcome, verdict.reason, began)

    def _attempts(self, step: Step, entry: StageRecord, *, may_follow: bool) -> StageLog:
        retries = self._retries
        while True:
            if not (may_follow and self._runner.is_there(_job_id(self._pipeline, step.stage, entry))):
                entry.attempts += 1
            may_follow = False
            # Kept before it starts, so that the next call knows under which name it runs.
            self._save()
            log = StageLog(lambda line: self._watcher.says(step.stage, line))
            job_id = _job_id(self._pipeline, step.stage, entry)
            ended = self._runner.run(list(step.command), job_id, log, self._still_ours)
            self._still_ours()
            with contextlib.suppress(StoreUnavailableError):
                self._store.put(self._log_key(step.stage), log.text.encode(), content_type="text/plain; charset=utf-8")
            if ended.exit_code == 0:
                return log
            if ended.exit_code is not None or retries < 1:
                raise self._failure(step, log, ended)
            retries -= 1
            self._watcher.says(step.stage, f"{step.stage} died: {ended.how}; it is started again")

    def _failure(self, step: Step, log: StageLog, ended: Ended) -> StageError:
        why = log.complaint if ended.exit_code is not None else f"{ended.how}; its last words: {log.complaint}"
        log_url = self._store.url_of(self._log_key(step.stage))
        return StageError(f"{step.stage} failed: {why} (its log: {log_url}); run the same command again to go on")

    def _read(self, step: Step, log: StageLog) -> dict[str, Any]:
        try:
            return kept(step.stage, log.result)
        except KeyError as error:
            raise StageError(
                f"{step.stage} ended well and did not say {error}; is another onesheet on the PATH?"
            ) from error

    def _end(self, step: Step, entry: StageRecord, outcome: str, reason: str, began: float) -> None:
        entry.seconds = round(time.monotonic() - began, 1)
        self._save()
        self._report(step, outcome, reason, entry, seconds=entry.seconds)

    def _report(self, step: Step, outcome: str, reason: str, entry: StageRecord, *, seconds: float) -> None:
        report = StageReport(
            stage=step.stage,
            outcome=outcome,
            reason=reason,
            seconds=seconds,
            attempts=entry.attempts,
            key=step.key,
            command=list(step.command),
            result=entry.result,
            error=entry.error,
        )
        self.reports.append(report)
        self._watcher.ends(report)

    def _save(self) -> None:
        deadline = time.monotonic() + _STORE_PATIENCE_S
        while True:
            self._still_ours()
            try:
                return self._record.save(self._store, self._pipeline.name)
            except StoreUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _log_key(self, stage: str) -> str:
        return f"{folder_of(self._pipeline.name)}logs/{stage}.log"


def _judge(pipeline: Pipeline, step: Step, record: Record) -> Verdict:
    days = pipeline.options_of(step.stage).get("refresh") if step.stage == "crawl" else None
    refresh_days = float(days) if isinstance(days, int | float) else None
    return judge(step, record.stages.get(step.stage), now(), refresh_days)


def _job_id(pipeline: Pipeline, stage: str, entry: StageRecord) -> str:
    """Of this attempt alone: the same inputs may come back one day."""
    return f"{pipeline.name}-{stage}-{entry.key}-{entry.started_at:%Y%m%d%H%M%S}-{entry.attempts}"


def _moment() -> str:
    return f"{time.time_ns():x}"
