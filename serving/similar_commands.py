"""`onesheet similar`: posters of the dataset that look like yours, for the front door to compose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import ServingError
from cluster.settings import Settings, load_settings
from cluster.store import open_store
from serving.commands import ModelOption, UrlOption

if TYPE_CHECKING:
    from serving.similar_answers import SimilarAnswer


def similar(
    posters: Annotated[
        list[Path], typer.Argument(help="Image files: JPEG, PNG, WebP or GIF.", metavar="POSTER", show_default=False)
    ],
    model: ModelOption = None,
    url: UrlOption = None,
    top: Annotated[int, typer.Option(help="Posters to show for each.", min=1, max=100)] = 5,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Find the posters of the model's dataset that look most like yours, with their titles.

    Exits with 1 if a file is missing or is no image; the others are answered all the same.

    Examples:

        onesheet similar poster.jpg

        onesheet similar *.jpg --top 3 --json

        onesheet similar poster.jpg --url http://127.0.0.1:8000
    """
    settings = load_settings(store=store)
    if url and model:
        raise ServingError("--url and --model: an endpoint serves the model in production; leave one of the two out")
    images, failures = _read(posters)
    answer = None
    if images:
        answer = _asked(settings, url, images, top) if url else _found(settings, model, images, top)
    result = _as_json(answer)
    finish(result, as_json=as_json, table=None if as_json or answer is None else _table(answer))
    failures += (
        [f"{poster.name}: {poster.problem.detail}" for poster in answer.posters if hasattr(poster, "problem")]
        if answer
        else []
    )
    for sentence in failures:
        say(f"[bold red]onesheet:[/] {escape(sentence)}")
    if failures:
        raise typer.Exit(1)


def _read(paths: list[Path]) -> tuple[dict[str, bytes], list[str]]:
    """The files by their paths, and a sentence for each that cannot be read."""
    images, failures = {}, []
    for path in paths:
        try:
            images[str(path)] = path.read_bytes()
        except OSError as error:
            failures.append(f"{path}: {error.strerror or error}")
    return images, failures


def _asked(settings: Settings, url: str, images: dict[str, bytes], top: int) -> SimilarAnswer:
    from serving.client import Client  # noqa: PLC0415
    from serving.similar_answers import SimilarAnswer  # noqa: PLC0415

    key = settings.api_key
    client = Client(url, key=key.get_secret_value() if key else None)
    # One at a time: so no sum of files is too large for the endpoint.
    answers = [client.similar([data], top=top) for data in images.values()]
    posters = [answer.posters[0] for answer in answers]
    named = [poster.model_copy(update={"name": name}) for name, poster in zip(images, posters, strict=True)]
    return SimilarAnswer(version=answers[-1].version, posters=named)


def _found(settings: Settings, model: str | None, images: dict[str, bytes], top: int) -> SimilarAnswer:
    from crawler.outcomes import Rejected  # noqa: PLC0415
    from serving.answers import RefusedPoster  # noqa: PLC0415
    from serving.poster_files import load_predictor  # noqa: PLC0415
    from serving.problems import problem_of  # noqa: PLC0415
    from serving.similar_answers import FoundPoster, SimilarAnswer  # noqa: PLC0415
    from training.registry import Registry  # noqa: PLC0415

    registry = Registry(open_store(settings.store))
    predictor = load_predictor(registry, model, max_pixels=settings.max_poster_pixels)
    outcomes = predictor.similar(list(images.values()), top=top)
    return SimilarAnswer(
        version=predictor.version,
        posters=[
            RefusedPoster(name=name, problem=problem_of(outcome))
            if isinstance(outcome, Rejected)
            else FoundPoster.of(name, outcome, shows_posters=False)
            for name, outcome in zip(images, outcomes, strict=True)
        ],
    )


def _as_json(answer: SimilarAnswer | None) -> dict[str, Any]:
    if answer is None:
        return {"posters": []}
    return answer.model_dump(mode="json", exclude_none=True)


def _table(answer: SimilarAnswer) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from serving.similar_answers import FoundPoster  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("poster", overflow="fold")
    table.add_column("similar to", overflow="fold")
    table.add_column("year", no_wrap=True)
    table.add_column("genres", overflow="fold")
    table.add_column("similarity", justify="right", no_wrap=True)
    table.add_column("IMDb id", no_wrap=True)
    for poster in answer.posters:
        if not isinstance(poster, FoundPoster):
            continue
        name = Path(poster.name).name
        for it in poster.similar:
            cells = (name, it.title or "", str(it.year or ""), ", ".join(it.genres), f"{it.similarity:.2f}", it.imdb_id)
            table.add_row(*(Text(cell) for cell in cells))
            name = ""
    return table
