"""`onesheet evaluate` and `onesheet compare`: what registered models are worth, and which is really better."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.resources import CpusPerWorkerOption, GpusPerWorkerOption
from cluster.settings import Settings, load_settings
from cluster.store import Store, open_store
from training.options import TestDatasetOption

if TYPE_CHECKING:
    from training.comparison import Comparison
    from training.evaluate import Evaluation
    from training.evaluation import VersionEvaluation

ReportOption = Annotated[
    Path | None, typer.Option(help="Write the page also into this file.", show_default=False, dir_okay=False)
]


def evaluate(
    version: Annotated[
        str, typer.Argument(help="A registered version, `latest` or `production`.", metavar="[VERSION]")
    ] = "latest",
    dataset: TestDatasetOption = None,
    report: ReportOption = None,
    cpus_per_worker: CpusPerWorkerOption = None,
    gpus_per_worker: GpusPerWorkerOption = 0,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a registered model again: every metric with its interval, beside the prior and the one in production.

    Leaves a page with curves, confusion, calibration, posters and what each genre's detector looks at beside the run
    in the store. With --cpus-per-worker or --gpus-per-worker it is one worker on a node of the Ray cluster.

    \b
    Examples:
      onesheet evaluate
      onesheet evaluate production --report worth.html
      onesheet evaluate latest --dataset ds-3b2f9c0d1e4a --json
      onesheet evaluate --gpus-per-worker 1
    """
    settings = load_settings(store=store)
    place = open_store(settings.store)
    found = _evaluated(settings, version, dataset, cpus_per_worker, gpus_per_worker)
    written = _write(place, f"runs/{found.bundle.version}/evaluation/{found.dataset_id}.html", found.page, report)
    if as_json:
        finish(found.to_dict() | {"page": written}, as_json=True)
        return
    for line in found.notes:
        say(f"[yellow]{escape(line)}[/]")
    finish({}, as_json=False, table=_evaluation_table(found.evaluation, found.beside))
    finish({"page": written}, as_json=False)


def _evaluated(settings: Settings, version: str, dataset: str | None, cpus: int | None, gpus: int) -> VersionEvaluation:
    """In this process, or where a worker finds the resources that were asked for."""
    from training.evaluation import evaluate_version  # noqa: PLC0415
    from training.quiet import start_tensorflow  # noqa: PLC0415

    place = open_store(settings.store)
    if cpus is None and not gpus:
        start_tensorflow()
        return evaluate_version(place, version, dataset, say)
    from cluster.nodes import connect  # noqa: PLC0415
    from training.evaluate_elsewhere import evaluate_elsewhere  # noqa: PLC0415

    with connect(settings):
        return evaluate_elsewhere(place, version, dataset, say, cpus=cpus or 1, gpus=gpus)


def compare(
    versions: Annotated[
        list[str],
        typer.Argument(help="Two or more versions, `latest` or `production`; the first is the reference."),
    ],
    dataset: TestDatasetOption = None,
    report: ReportOption = None,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put models side by side on the same test posters: is one really better? By a paired bootstrap.

    Scores that an evaluation kept are used again, so models run only where there are none.

    \b
    Examples:
      onesheet compare production latest
      onesheet compare mobilenet_v2-20260301 cnn_5x5-20260302 --dataset ds-3b2f9c0d1e4a --report compared.html
    """
    from training.comparison_page import render_comparison  # noqa: PLC0415
    from training.evaluation import compare_versions  # noqa: PLC0415

    place = open_store(load_settings(store=store).store)
    found = compare_versions(place, versions, dataset, say)
    names = [side.version for side in found.sides]
    key = f"runs/{names[0]}/evaluation/{'+'.join(['compared', *names[1:]])[:300]}.html"
    written = _write(place, key, render_comparison(found, datetime.now(UTC)), report)
    if as_json:
        finish(found.to_dict() | {"page": written}, as_json=True)
        return
    for line in found.notes:
        say(f"[yellow]{escape(line)}[/]")
    finish({}, as_json=False, table=_comparison_table(found))
    finish({"page": written}, as_json=False)


def _write(store: Store, key: str, page: str, file: Path | None) -> str:
    """Put a page into the store, and into a file where one is named; returns where it is."""
    store.put(key, page.encode(), content_type="text/html; charset=utf-8")
    if file is None:
        return store.url_of(key)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return str(file)


def _evaluation_table(evaluation: Evaluation, beside: Comparison | None) -> Any:
    from rich.table import Table  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("metric", no_wrap=True)
    for name in ("model", "95%", "prior", *(["production", "gain", "better"] if beside else [])):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.caption = f"on {evaluation.posters['test']:,} test posters"
    shown.caption_justify = "left"
    for name, value in evaluation.metrics.items():
        low, high = evaluation.intervals[name]
        row = [name, f"{value:.3f}", f"{low:.3f} to {high:.3f}", f"{evaluation.prior_metrics[name]:.3f}"]
        if beside is not None:
            gap = beside.sides[1].differences[name]
            row += [f"{beside.sides[0].metrics[name]:.3f}", f"{gap.difference:+.3f}", f"{gap.probability_better:.0%}"]
        shown.add_row(*row)
    return shown


def _comparison_table(found: Comparison) -> Any:
    from rich.table import Table  # noqa: PLC0415

    reference, *others = found.sides
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.caption = f"{found.test_posters:,} test posters of {found.dataset_id}, {len(found.genres)} genres"
    shown.caption_justify = "left"
    shown.add_column("metric", no_wrap=True)
    shown.add_column(reference.version, justify="right", overflow="fold")
    for side in others:
        shown.add_column(side.version, justify="right", overflow="fold")
        shown.add_column("difference (95%)", justify="right", no_wrap=True)
        shown.add_column("better in", justify="right", no_wrap=True)
    for name, value in reference.metrics.items():
        row = [name, f"{value:.3f}"]
        for side in others:
            gap = side.differences[name]
            row += [
                f"{side.metrics[name]:.3f}",
                f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})",
                f"{gap.probability_better:.0%}",
            ]
        shown.add_row(*row)
    return shown
