"""The HTTP interface: posters in, genres out, as a plain FastAPI app that knows no Ray."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from crawler.outcomes import Rejected
from serving import access
from serving.access import AccessMiddleware, Listener, write_line
from serving.addresses import Network
from serving.admission import Admission
from serving.answers import (
    GenresAnswer,
    LiveAnswer,
    ModelAnswer,
    PredictionAnswer,
    ReadyAnswer,
    RefusedPoster,
    ScoredPoster,
)
from serving.canary import CanaryBy, chosen
from serving.drift import DriftWatch, drift_router
from serving.explanations import Picture, drawn, explained
from serving.fetching import Fetcher
from serving.follower import Follower
from serving.keys import Keys
from serving.limits import Limiter
from serving.predictor import Prediction, Predictor, predict_among
from serving.problems import BodyLimit, Problem, ProblemError, answer_with_problems, documented, problem_of
from serving.similar_endpoints import VERSION_HEADER as _VERSION
from serving.similar_endpoints import add_similar
from serving.thumbnails import Thumbnails
from serving.turns import Turns
from serving.uploads import REQUEST_BODY, Upload

_PAGE = Path(__file__).parent / "page"
_PNG = {"description": "The picture.", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
_PAGE_HEADERS = {
    # The page is whole in itself: nothing from elsewhere is loaded, nothing is sent elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for, who may ask, and who hears of it.

    fetcher: fetches posters by their URLs; without one, URLs are refused. thumbnails: of similar posters; without them
    none is shown. keys: without them everybody may ask.
    limiter: of each caller's requests. cors_origins: pages from elsewhere that may ask. listeners: hear of every
    request. tells_request_id: in the answer's headers, unless a proxy does. admission: of requests with posters.
    trusted_proxies: whose X-Forwarded-For says who asks. canary_by: what a candidate's share is a share of. drift: one
    of the listeners that can be asked what it saw.
    """

    max_upload_bytes: int
    max_posters: int = 64
    timeout_s: float = 60.0
    fetcher: Fetcher | None = None
    thumbnails: Thumbnails | None = None
    keys: Keys | None = None
    limiter: Limiter | None = None
    cors_origins: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = (write_line,)
    tells_request_id: bool = True
    admission: Admission = field(default_factory=Admission)
    trusted_proxies: tuple[Network, ...] = ()
    canary_by: CanaryBy = "request"
    drift: DriftWatch = field(default_factory=DriftWatch)


_bearer = HTTPBearer(auto_error=False, description="An API key.")


async def _admit(request: Request) -> None:
    """Nothing of a request is read before its caller is known."""
    limits: Limits = request.app.state.limits
    record = access.of(request.scope)
    caller = record.address
    if limits.keys:
        given = await _bearer(request)
        found = limits.keys.name_of(given.credentials) if given else None
        if found is None:
            said = "this API key is not known here" if given else "an API key is wanted: send Authorization: Bearer KEY"
            raise ProblemError(401, said, headers={"WWW-Authenticate": "Bearer"})
        caller = record.caller = found
    if limits.limiter and (wait_s := await limits.limiter.wait_s(caller)):
        raise ProblemError(429, f"{caller} asks too often; ask again later", retry_after_s=math.ceil(wait_s))


def build_api(follower: Follower, limits: Limits) -> FastAPI:
    """The app; its start-up loads the production model, its shutdown stops following.

    What decodes or asks the model does it in threads, and never holds the event loop.
    """
    threads = ThreadPoolExecutor(limits.admission.max_ongoing, thread_name_prefix="posters")
    in_turn = Turns(threads, limits.admission, max_posters=limits.max_posters, fetcher=limits.fetcher)

    @contextlib.asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        async with limits.fetcher or contextlib.nullcontext():
            await run_in_threadpool(follower.start)
            yield
            follower.stop()

    api = FastAPI(
        title="onesheet",
        summary="The genres of a movie poster.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
    )
    _guard(api, limits)
    # Only to be told of on the OpenAPI page; `_admit` reads it.
    asking = [Security(_bearer)] if limits.keys else []
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(_admit), *asking])

    def ready() -> Predictor:
        return _ready(follower)

    @v1.post(
        "/predict",
        tags=["genres"],
        responses=documented(400, 401, 403, 413, 415, 422, 429, 503, 504),
        response_model=PredictionAnswer,
        openapi_extra=REQUEST_BODY,
    )
    @in_turn
    def predict(
        request: Request,
        posters: list[Upload],
        top: Annotated[int | None, Query(ge=1, description="Only so many genres a poster, the best.")] = None,
        threshold: Annotated[
            float | None, Query(ge=0, le=1, description="Of what counts, in place of each genre's own.")
        ] = None,
        explain: Annotated[
            bool, Query(description="With each poster, where the model sees its best genre, or the one asked for.")
        ] = False,
        genre: Annotated[str | None, Query(description="To explain, in place of each poster's best.")] = None,
        picture: Annotated[Picture, Query(description="The explanation's; see /v1/explain.")] = "layer",
    ) -> Response:
        """Score every genre for one poster or many: JPEG, PNG, WebP or GIF, told by their content.

        They are sent in the request, or fetched from URLs where the server's operator allows that. Of many, one that is
        refused has its problem in its place, and never spoils its neighbours; the problem of a
        poster that came alone is the answer.

        With `explain=true` each poster has an `explanation`: the genre, its score, and `png`, a heat map as base64.
        That takes several times as long.

        Try it: `curl -F image=@one.jpg -F image=@two.jpg http://127.0.0.1:8000/v1/predict`
        """
        predictor = _asked(request, follower)
        _check_genre(genre, predictor.card.genres)
        if genre is not None and not explain:
            raise ProblemError(422, "genre: it chooses what is explained; add explain=true")
        record = access.of(request.scope)
        told = predict_among(predictor.predict, [poster.data for poster in posters])
        outcomes = [problem_of(outcome) if isinstance(outcome, Rejected) else outcome for outcome in told]
        record.predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        if len(outcomes) == 1 and isinstance(outcomes[0], Problem):
            raise ProblemError.of(outcomes[0])
        answer = PredictionAnswer(
            version=predictor.card.version,
            posters=[
                RefusedPoster(name=poster.name, problem=outcome)
                if isinstance(outcome, Problem)
                else ScoredPoster.of(
                    poster.name,
                    outcome,
                    top=top,
                    threshold=threshold,
                    explanation=explained(predictor, poster.data, genre, picture) if explain else None,
                )
                for poster, outcome in zip(posters, outcomes, strict=True)
            ],
        )
        # Written here: FastAPI would hand it to two more threads, to be checked against what it is and to be written.
        return Response(
            answer.model_dump_json(exclude_none=True),
            media_type="application/json",
            headers={_VERSION: predictor.version},
        )

    @v1.post(
        "/explain",
        tags=["genres"],
        response_class=Response,
        responses={200: _PNG, **documented(400, 401, 403, 413, 415, 422, 429, 503, 504)},
        openapi_extra=REQUEST_BODY,
    )
    @in_turn
    def explain(
        request: Request,
        posters: list[Upload],
        genre: Annotated[str | None, Query(description="By default the one with the highest score.")] = None,
        picture: Annotated[Picture, Query(description="See the answer.")] = "overlay",
    ) -> Response:
        """Show where in a poster the model sees a genre (HiResCAM), as a PNG.

        `overlay` is the poster, dark where nothing counts and aglow where something does; `layer` is that shade alone,
        small and transparent, to lay over the poster; `map` is the heat map in grey, in the size of the model's input;
        `poster` is the bare poster, of use where it was given by its URL.
        The headers Onesheet-Genre (percent-encoded), Onesheet-Score and Onesheet-Version say of what.

        Try it: `curl -F image=@poster.jpg 'http://127.0.0.1:8000/v1/explain?genre=Horror' > horror.png`
        """
        predictor = _asked(request, follower)
        if len(posters) != 1:
            raise ProblemError(422, f"image: {len(posters)} posters; a picture explains one of them")
        _check_genre(genre, predictor.card.genres)
        data = posters[0].data
        if isinstance(data, Problem):
            raise ProblemError.of(data)
        explanation = predictor.explain(data, genre)
        if isinstance(explanation, Rejected):
            raise ProblemError.of(problem_of(explanation))
        headers = {
            "Onesheet-Genre": quote(explanation.genre.genre),
            "Onesheet-Score": f"{explanation.genre.score:.6f}",
            _VERSION: predictor.card.version,
        }
        return Response(drawn(explanation, picture), media_type="image/png", headers=headers)

    @v1.get("/genres", tags=["genres"], responses=documented(401, 429, 503))
    def genres() -> GenresAnswer:
        """The genres that the model knows, with the score from which each counts, and what each is worth."""
        return GenresAnswer.of(ready().card)

    @v1.get("/model", tags=["model"], responses=documented(401, 429, 503))
    def model() -> ModelAnswer:
        """The model that serves now, a candidate beside it, and a version that was refused, if there is one."""
        predictor = ready()
        return ModelAnswer.of(
            follower,
            limits.max_upload_bytes,
            fetches_urls=limits.fetcher is not None,
            finds_similar=predictor.finder is not None,
        )

    add_similar(
        v1,
        threads,
        in_turn,
        ready=ready,
        thumbnails=limits.thumbnails,
        retry_after_s=follower.poll_interval_s,
    )

    v1.include_router(drift_router(follower, limits.drift))
    _add_probes_and_page(api, ready)
    api.include_router(v1)
    api.mount("/page", StaticFiles(directory=_PAGE), name="page")
    _describe_problems(api)
    return api


def _add_probes_and_page(api: FastAPI, ready: Callable[[], Predictor]) -> None:
    @api.get("/healthz", tags=["model"])
    async def healthz() -> LiveAnswer:
        """Whether this replica is alive: it answers, with a model or without."""
        return LiveAnswer()

    @api.get("/readyz", tags=["model"], responses=documented(503))
    async def readyz() -> ReadyAnswer:
        """Whether this replica has a model loaded and warm."""
        return ReadyAnswer(version=ready().card.version)

    @api.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)


def _guard(api: FastAPI, limits: Limits) -> None:
    api.state.limits = limits
    answer_with_problems(api)
    # The last one added is the outermost.
    api.add_middleware(BodyLimit, max_bytes=limits.max_upload_bytes)
    if limits.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=limits.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", access.REQUEST_ID],
            expose_headers=[access.REQUEST_ID, "Onesheet-Genre", "Onesheet-Score", _VERSION],
        )
    api.add_middleware(
        AccessMiddleware,
        listeners=limits.listeners,
        timeout_s=limits.timeout_s,
        tells_id=limits.tells_request_id,
        trusted_proxies=limits.trusted_proxies,
    )


def _check_genre(genre: str | None, known: tuple[str, ...]) -> None:
    if genre is not None and genre not in known:
        raise ProblemError(422, f"genre: {genre!r} is none of {', '.join(known)}")


def _ready(follower: Follower) -> Predictor:
    """The production model."""
    if follower.predictor is None:
        # The follower looks again by then.
        raise ProblemError(503, _why_not_ready(follower), retry_after_s=math.ceil(follower.poll_interval_s))
    return follower.predictor


def _asked(request: Request, follower: Follower) -> Predictor:
    """The model that this request goes to: all its posters go to the same one."""
    limits: Limits = request.app.state.limits
    record = access.of(request.scope)
    caller = (record.caller or record.address) if limits.canary_by == "caller" else None
    predictor = chosen(follower, caller) or _ready(follower)
    record.version = predictor.version
    return predictor


def _why_not_ready(follower: Follower) -> str:
    if follower.refused:
        return f"no model is loaded: version {follower.refused.version} is refused: {follower.refused.reason}"
    return "no model is in production; run `onesheet models promote VERSION`"


def _describe_problems(api: FastAPI) -> None:
    """Put Problem among the schemas that the OpenAPI page can refer to; no endpoint returns it by type."""
    schema = api.openapi()
    schema["components"]["schemas"]["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
