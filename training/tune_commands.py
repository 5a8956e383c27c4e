"""`onesheet tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import TrainingError
from cluster.resources import CpusPerWorkerOption, GpusPerWorkerOption, WorkersOption
from cluster.settings import load_settings
from cluster.store import open_store
from training.options import CheckFlag, NameOption, TrainingDatasetOption, WeightsOption

# Beside the code: an installed onesheet has no other folder.
_DEFAULT_SPACE = Path(__file__).with_name("search.toml")
_TRIALS = 40


def tune(
    space: Annotated[
        Path | None, typer.Option(help="A search space, in place of the one of --show-space.", show_default=False)
    ] = None,
    show_space: Annotated[bool, typer.Option("--show-space", help="Print the default space, to edit a copy.")] = False,
    trials: Annotated[
        int | None, typer.Option(help=f"The budget in trials, {_TRIALS} by default.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="And in minutes: no trial goes on after them.", show_default=False)
    ] = None,
    dataset: TrainingDatasetOption = None,
    workers: WorkersOption = 1,
    cpus_per_worker: CpusPerWorkerOption = None,
    gpus_per_worker: GpusPerWorkerOption = 0,
    concurrent: Annotated[
        int | None, typer.Option(help="Trials at the same time; by default as many as fit.", show_default=False)
    ] = None,
    weights: WeightsOption = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn, of weights and shuffling.")] = 0,
    name: NameOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with a search that was interrupted; all but --trials and --minutes is its own.",
            show_default=False,
        ),
    ] = None,
    check: CheckFlag = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Search over architectures and their settings, then refit the winner, measure it once, and register it.

    --workers is of each trial; as many trials run at a time as find room, or as --concurrent says.

    \b
    Examples:
      onesheet tune --weights WEIGHTS_FOLDER --trials 30
      onesheet tune --show-space > search.toml
      onesheet tune --space search.toml --minutes 120
      onesheet tune --gpus-per-worker 1 --concurrent 4
      onesheet tune --resume search-20260301-120000-1a2b --trials 60
      onesheet tune --space search.toml --name weekly-20260301
    """
    from cluster.nodes import connect  # noqa: PLC0415
    from training import searches  # noqa: PLC0415
    from training.leaderboard import finished, leaderboard_table  # noqa: PLC0415
    from training.live import live_line  # noqa: PLC0415

    if show_space:
        typer.echo(_DEFAULT_SPACE.read_text(encoding="utf-8"), nl=False)
        return
    settings = load_settings(store=store, weights=weights)
    opened = open_store(settings.store)
    if not resume:
        path = space or _DEFAULT_SPACE
        options = searches.SearchOptions(
            space=_text_of(path),
            space_name=str(path),
            dataset_id=dataset,
            trials=_TRIALS if trials is None else trials,
            minutes=minutes,
            workers=workers,
            cpus_per_worker=cpus_per_worker,
            gpus_per_worker=gpus_per_worker,
            concurrent=concurrent,
            weights=settings.weights,
            seed=seed,
            name=name,
        )
        if check:
            searches.check(options)
            finish({"checked": True}, as_json=as_json)
            return
    from training import tune as tuning  # noqa: PLC0415  Ray Tune takes seconds, and a check needs none of it

    with connect(settings, dashboard=True), live_line() as on_event:
        if resume:
            result = tuning.resume_search(
                resume, opened, say, on_event, trials=trials, minutes=minutes, tracking=settings.tracking
            )
        else:
            result = tuning.search(options, opened, say, on_event, tracking=settings.tracking)
    version, card = result.trained.version, result.trained.card
    say(f"leaderboard: {result.page_url}")
    say(f"registered [bold]{version}[/]; `onesheet models promote {version}` puts it into production")
    finish(
        {
            "search": result.name,
            "trials": finished(result.trials),
            "winner": result.winner.run,
            "version": version,
            "metrics": card.metrics,
            "prior_metrics": card.prior_metrics,
            "leaderboard": result.page_url,
        },
        as_json=as_json,
        table=leaderboard_table(result.trials),
    )


def _text_of(space: Path) -> str:
    try:
        return space.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"--space {space} cannot be read: {error}") from error
