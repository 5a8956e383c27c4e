"""`onesheet serve` and `onesheet predict`, for the front door to compose."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cluster.console import JsonFlag, StoreOption, finish, say
from cluster.errors import ServingError
from cluster.resources import CpusPerWorkerOption, GpusPerWorkerOption, OptionalWorkersOption
from cluster.settings import Settings, load_settings
from cluster.store import open_store
from serving.haproxy import Proxy

if TYPE_CHECKING:
    from serving.poster_files import FileOutcome

_BAR = 24

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="A registered version, or `latest`.", show_default="the one in production"),
]
UrlOption = Annotated[
    str | None, typer.Option(help="Ask this endpoint, in place of loading the model here.", show_default=False)
]


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
    min_replicas: Annotated[
        int, typer.Option(help="Replicas that always run; 0 for none while nobody asks.", min=0)
    ] = 1,
    max_replicas: Annotated[int, typer.Option(help="Replicas under the heaviest load.", min=1)] = 2,
    cpus_per_replica: Annotated[
        int | None,
        typer.Option(help="CPUs of each replica: as many threads run its model.", min=1, show_default="2, or all"),
    ] = None,
    proxy: Annotated[
        Proxy, typer.Option(help="In front of the replicas; ray's own is slower. A Ray that runs has its own.")
    ] = "haproxy",
    fetch_urls: Annotated[
        bool, typer.Option("--fetch-urls", help="Fetch posters that a request names by URL, from public hosts.")
    ] = False,
    show_posters: Annotated[
        bool, typer.Option("--show-posters", help="Show small pictures of similar posters, where you may.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve the production model over HTTP, with a page to try it, until Ctrl-C.

    The server follows `onesheet models promote` and `rollback` without a restart.

    Examples:

        onesheet serve

        onesheet serve --port 9000 --max-replicas 4 --store s3://posters/onesheet
    """
    from serving.endpoint import options_for, running  # noqa: PLC0415

    settings = load_settings(store=store)
    options = options_for(
        settings,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        cpus_per_replica=cpus_per_replica,
        fetch_urls=fetch_urls,
        show_posters=show_posters,
    )
    say("starting Ray Serve and loading the production model…")
    with running(options, settings, host=host, port=port, proxy=proxy) as endpoint:
        say(f"[bold]{endpoint.url}[/]  serves {escape(endpoint.version)}; Ctrl-C ends it")
        say(f"curl -F image=@poster.jpg {endpoint.url}/v1/predict")
        if options.max_replicas < max_replicas:
            say(f"this machine has room for {options.max_replicas} replica(s) of {options.cpus_per_replica} CPUs")
        if as_json:
            finish({"url": endpoint.url, "version": endpoint.version}, as_json=True)
        # SIGTERM arrives as SystemExit; both are the way to end a server, not a failure.
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            threading.Event().wait()
        say("stopping…")


def predict(
    posters: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files: JPEG, PNG, WebP or GIF.", metavar="POSTER", show_default=False),
    ] = None,
    model: ModelOption = None,
    url: UrlOption = None,
    top: Annotated[int, typer.Option(help="Genres to show for each poster.", min=1)] = 5,
    input_url: Annotated[
        str | None,
        typer.Option("--input", help="Score every picture below this folder or s3:// prefix.", show_default=False),
    ] = None,
    output_url: Annotated[
        str | None,
        typer.Option("--output", help="And put a table of Parquet parts into this one.", show_default=False),
    ] = None,
    workers: OptionalWorkersOption = None,
    cpus_per_worker: CpusPerWorkerOption = None,
    gpus_per_worker: GpusPerWorkerOption = 0,
    store: StoreOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell the genres of poster files, without a server, or by one; or of all posters below a prefix.

    Exits with 1 if a file is missing or is no image; the others are told all the same.

    With --input and --output the work is spread over the Ray cluster, over as many workers as find room unless
    --workers says how many, and the same command goes on where it ended.

    Examples:

        onesheet predict poster.jpg

        onesheet predict posters/*.jpg --top 3 --json

        onesheet predict poster.jpg --url http://127.0.0.1:8000

        onesheet predict --input s3://posters/onesheet/posters/ --output s3://posters/genres.parquet
    """
    from serving.client import Client  # noqa: PLC0415
    from serving.poster_files import RemoteScorer, Scorer, load_predictor, predict_files, why_not  # noqa: PLC0415
    from serving.poster_files import as_json as file_as_json  # noqa: PLC0415
    from training.registry import Registry  # noqa: PLC0415

    settings = load_settings(store=store)
    if input_url is not None or output_url is not None:
        if not (input_url and output_url) or posters or url:
            raise ServingError("--input and --output go together, and without POSTERs and --url")
        spread = {
            "workers": workers,
            "cpus_per_worker": cpus_per_worker or 1,
            "gpus_per_worker": gpus_per_worker,
        }
        _predict_all(settings, model, input_url, output_url, spread, as_json=as_json)
        return
    if workers or cpus_per_worker or gpus_per_worker:
        raise ServingError("--workers, --cpus-per-worker and --gpus-per-worker go with --input and --output")
    if not posters:
        raise ServingError("no posters: name files, or give --input and --output")
    predictor: Scorer
    if url is None:
        registry = Registry(open_store(settings.store))
        predictor = load_predictor(registry, model, max_pixels=settings.max_poster_pixels)
    elif model is None:
        key = settings.api_key
        predictor = RemoteScorer(Client(url, key=key.get_secret_value() if key else None))
    else:
        raise ServingError("--url and --model: an endpoint serves the model in production; leave one of the two out")
    results = list(predict_files(predictor, posters))
    failures = [sentence for result in results if (sentence := why_not(result))]
    finish(
        {"version": predictor.version, "posters": [file_as_json(result, top=top) for result in results]},
        as_json=as_json,
        table=None if as_json else _table(results, top=top),
    )
    for sentence in failures:
        say(f"[bold red]onesheet:[/] {escape(sentence)}")
    if failures:
        raise typer.Exit(1)


def _predict_all(
    settings: Settings, model: str | None, input_url: str, output_url: str, spread: dict[str, Any], *, as_json: bool
) -> None:
    from cluster.nodes import connect  # noqa: PLC0415
    from serving.batch import predict_all  # noqa: PLC0415
    from training.live import live_line  # noqa: PLC0415
    from training.registry import Registry  # noqa: PLC0415

    began = time.monotonic()
    with connect(settings), live_line() as on_event:
        totals = predict_all(
            Registry(open_store(settings.store)),
            model,
            input_url=input_url,
            output_url=output_url,
            max_pixels=settings.max_poster_pixels,
            say=say,
            progress=lambda done, total: on_event({"what": "parts", "step": done, "steps": total}),
            **spread,
        )
    seconds = time.monotonic() - began
    say(f"{totals.posters:,} posters, {totals.refused:,} refused; {totals.made:,} parts made in {seconds:.0f} s")
    say(f"[bold]{escape(output_url)}[/] holds them: pandas.read_parquet reads it as one table")
    finish({**asdict(totals), "output": output_url, "seconds": round(seconds, 1)}, as_json=as_json)


def _table(results: list[FileOutcome], *, top: int) -> Any:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from serving.predictor import Prediction  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("poster", overflow="fold")
    table.add_column("genre", no_wrap=True)
    table.add_column("score, and where the genre counts", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    for result in results:
        if not isinstance(result.outcome, Prediction):
            continue
        name = result.path.name
        for genre in result.outcome.genres[:top]:
            style = "bold" if genre.passes else "dim"
            bar = _bar(genre.score, genre.threshold)
            table.add_row(Text(name), Text(genre.genre, style), Text(bar, style), Text(f"{genre.score:.0%}", style))
            name = ""
    return table


def _bar(score: float, threshold: float) -> str:
    """`━━━━━━━│━━━───`: the score as a bar, with a mark where the genre counts."""
    filled = round(score * _BAR)
    cells = ["━" if cell < filled else "─" for cell in range(_BAR)]
    cells[min(_BAR - 1, int(threshold * _BAR))] = "│"
    return "".join(cells)
