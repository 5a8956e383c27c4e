"""`onesheet models`: see what is registered, put a version into production, go back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import TrainingError
from cluster.settings import load_settings
from cluster.store import open_store
from training.bundle import MACRO_MAP, BundleCard
from training.options import CheckFlag, TestDatasetOption
from training.registry import Production, Registry

models_app = typer.Typer(
    name="models",
    help="Registered models, and the one in production.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

VersionArgument = Annotated[str, typer.Argument(help="A registered version, or `latest`.", metavar="VERSION")]


@models_app.command("list")
def list_models(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """List the registered versions, newest first.

    Examples:

        onesheet models list

        onesheet models list --store s3://posters/onesheet --json
    """
    registry = _registry(store)
    cards = registry.versions()
    production = registry.production()
    result = {
        "production": production.version if production else None,
        "models": [summary(card, production) for card in cards],
    }
    finish(result, as_json=as_json, table=table(cards, production) if cards else _nothing(registry))


@models_app.command("show")
def show_model(version: VersionArgument, store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """Show all that a version's card says: genres, thresholds, metrics, lineage.

    Examples:

        onesheet models show latest

        onesheet models show 20260301-1200-mobilenet --json
    """
    registry = _registry(store)
    card = registry.card(version)
    production = registry.production()
    finish(
        card.model_dump(mode="json") | {"in_production": _is_production(card, production)},
        as_json=as_json,
        table=None if as_json else _details(card, production),
    )


@models_app.command("promote")
def promote_model(
    version: VersionArgument,
    if_better: Annotated[
        bool,
        typer.Option("--if-better", help="Only if it beats the one in production on test posters new to both."),
    ] = False,
    dataset: TestDatasetOption = None,
    metric: Annotated[str, typer.Option(help="By which it has to be better.")] = MACRO_MAP,
    min_gain: Annotated[float, typer.Option(help="And by more than this.")] = 0.0,
    confidence: Annotated[
        float, typer.Option(help="In this share of the bootstrap draws: 0.5 is better at all, 0.95 hardly by chance.")
    ] = 0.5,
    check: CheckFlag = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put a version into production; running servers follow within seconds. A canary ends.

    With [bold]--if-better[/] nothing happens, also with exit code 0, where it is not better. Where nothing is in
    production yet, it has to beat the prior baseline.

    Examples:

        onesheet models promote latest

        onesheet models promote 20260301-1200-mobilenet

        onesheet models promote latest --if-better --confidence 0.95 --json
    """
    if not if_better and not check:
        _finish_pointer(_registry(store).promote(version), as_json=as_json)
        return
    from training.promotion import Rule, promote_if_better  # noqa: PLC0415  scikit-learn takes a second

    rule = Rule(metric=metric, min_gain=min_gain, confidence=confidence)
    if check:
        finish({"checked": True}, as_json=as_json)
        return
    decision = promote_if_better(open_store(load_settings(store=store).store), version, rule, dataset, say)
    for note in decision.notes:
        say(f"[yellow]{escape(note)}[/]")
    told = {"production": decision.production or "none", "reason": decision.reason}
    finish(decision.to_dict() if as_json else told, as_json=as_json)


@models_app.command("rollback")
def rollback_model(store: StoreOption = None, as_json: JsonFlag = False) -> None:
    """Put the version that was in production before back into production.

    Examples:

        onesheet models rollback

        onesheet models rollback --store s3://posters/onesheet
    """
    _finish_pointer(_registry(store).rollback(), as_json=as_json)


@models_app.command("canary")
def canary_model(
    version: Annotated[
        str | None, typer.Argument(help="A registered version, or `latest`.", metavar="VERSION", show_default=False)
    ] = None,
    share: Annotated[float, typer.Option(help="Of the requests, above 0 and below 1.")] = 0.1,
    stop: Annotated[
        bool, typer.Option("--stop", help="End the canary: all requests to the production version.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Try a version on a share of the requests, beside the one in production; running servers follow within seconds.

    Answers name the version that gave them, and metrics have it as a label. The same command with another share
    changes it; `onesheet models promote` makes the candidate the production version.

    Examples:

        onesheet models canary latest --share 0.1

        onesheet models canary --stop
    """
    if stop == (version is not None):
        raise TrainingError("name the VERSION to try, or give --stop, one of the two")
    registry = _registry(store)
    production = registry.stop_canary() if version is None else registry.canary(version, share)
    _finish_pointer(production, as_json=as_json)


def summary(card: BundleCard, production: Production | None) -> dict[str, Any]:
    """One version as `list --json` tells it."""
    return {
        "version": card.version,
        "in_production": _is_production(card, production),
        "share": _share(card, production),
        "architecture": card.architecture,
        "dataset_id": card.lineage.get("dataset_id"),
        MACRO_MAP: card.metrics.get(MACRO_MAP),
        f"prior_{MACRO_MAP}": card.prior_metrics.get(MACRO_MAP),
        "created_at": card.created_at.isoformat(),
    }


def table(cards: list[BundleCard], production: Production | None) -> Any:
    """The versions for people: a rich table with the production one marked."""
    from rich.table import Table  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, header_style="dim")
    tried = production.candidate if production else None
    shown.caption = "● in production" + (f"   ○ tried on {tried.share:.0%} of the requests" if tried else "")
    shown.caption_justify = "left"
    shown.add_column("")
    shown.add_column("version", no_wrap=True)
    shown.add_column("architecture", overflow="fold")
    shown.add_column("dataset", overflow="fold")
    shown.add_column("macro mAP", justify="right", no_wrap=True)
    shown.add_column("prior", justify="right", no_wrap=True)
    shown.add_column("created", no_wrap=True)
    for card in cards:
        is_production = _is_production(card, production)
        shown.add_row(
            "[green]●[/]" if is_production else "○" if _share(card, production) else "",
            card.version,
            card.architecture,
            str(card.lineage.get("dataset_id", "-")),
            _metric(card.metrics),
            _metric(card.prior_metrics),
            card.created_at.strftime("%Y-%m-%d"),
            style="bold" if is_production else None,
        )
    return shown


def _details(card: BundleCard, production: Production | None) -> Any:
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="dim")
    facts.add_column()
    rows = {
        "version": card.version + (" (in production)" if _is_production(card, production) else ""),
        "architecture": card.architecture,
        "created": card.created_at.strftime("%Y-%m-%d %H:%M UTC"),
        "input": f"{card.height_px} x {card.width_px} px (height x width), RGB",
    }
    for name, value in {**rows, **card.lineage, **card.files}.items():
        facts.add_row(name, Text(str(value)))

    metrics = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("metric on the test split", "model", "prior"):
        metrics.add_column(column, justify="left" if column.startswith("metric") else "right")
    for name in card.metrics:
        metrics.add_row(name, _metric(card.metrics, name), _metric(card.prior_metrics, name))

    genres = Table(box=None, pad_edge=False, header_style="dim")
    genres.add_column("genre")
    genres.add_column("threshold", justify="right")
    for genre, threshold in zip(card.genres, card.thresholds, strict=True):
        genres.add_row(genre, f"{threshold:.2f}")
    return Group(facts, "", metrics, "", genres)


def _finish_pointer(production: Production, *, as_json: bool) -> None:
    before = production.previous[-1] if production.previous else None
    result: dict[str, Any] = {"production": production.version, "rollback_to": before}
    if production.candidate:
        result |= {"candidate": production.candidate.version, "share": production.candidate.share}
    finish(result, as_json=as_json)


def _registry(store: str | None) -> Registry:
    return Registry(open_store(load_settings(store=store).store))


def _nothing(registry: Registry) -> str:
    return f"no model is registered in {registry.store.url}; train one with `onesheet train`"


def _is_production(card: BundleCard, production: Production | None) -> bool:
    return production is not None and production.version == card.version


def _share(card: BundleCard, production: Production | None) -> float:
    """Of the requests, that go to this version."""
    tried = production.candidate.share if production and production.candidate else 0.0
    if _is_production(card, production):
        return 1 - tried
    return tried if production and production.candidate and production.candidate.version == card.version else 0.0


def _metric(metrics: dict[str, float], name: str = MACRO_MAP) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else "-"
