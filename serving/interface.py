"""The HTTP interface: posters in, genres out, as a plain FastAPI app that knows no Ray."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from crawler.outcomes import Rejected
from serving.answers import (
    GenresAnswer,
    LiveAnswer,
    ModelAnswer,
    PredictionAnswer,
    ReadyAnswer,
    RefusedPoster,
    ScoredPoster,
)
from serving.explanations import Picture, drawn
from serving.follower import Follower
from serving.predictor import Predictor
from serving.problems import BodyLimit, Problem, ProblemError, answer_with_problems, documented, problem_of
from serving.uploads import REQUEST_BODY, Upload, read_uploads

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


async def _uploads(request: Request) -> list[Upload]:
    return await read_uploads(request, most=request.app.state.max_posters)


Posters = Annotated[list[Upload], Depends(_uploads)]


def build_api(follower: Follower, *, max_upload_bytes: int, max_posters: int = 64) -> FastAPI:
    """The app; its start-up loads the production model, its shutdown stops following.

    Endpoints are plain functions: FastAPI runs them in threads, so decoding and the model never hold the event loop.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
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
    api.state.max_posters = max_posters
    answer_with_problems(api)
    api.add_middleware(BodyLimit, max_bytes=max_upload_bytes)

    def ready() -> Predictor:
        if follower.predictor is None:
            # The follower looks again by then.
            raise ProblemError(503, _why_not_ready(follower), retry_after_s=math.ceil(follower.poll_interval_s))
        return follower.predictor

    @api.post(
        "/v1/predict",
        tags=["genres"],
        responses=documented(400, 413, 415, 422, 503),
        response_model_exclude_none=True,
        openapi_extra=REQUEST_BODY,
    )
    def predict(
        posters: Posters,
        top: Annotated[int | None, Query(ge=1, description="Only so many genres a poster, the best.")] = None,
        threshold: Annotated[
            float | None, Query(ge=0, le=1, description="Of what counts, in place of each genre's own.")
        ] = None,
    ) -> PredictionAnswer:
        """Score every genre for one poster or many: JPEG, PNG, WebP or GIF, told by their content.

        Of many, one that is refused has its problem in its place, and never spoils its neighbours; the problem of a
        poster that came alone is the answer.

        Try it: `curl -F image=@one.jpg -F image=@two.jpg http://127.0.0.1:8000/v1/predict`
        """
        predictor = ready()
        outcomes = predictor.predict([poster.data for poster in posters])
        if len(outcomes) == 1 and isinstance(outcomes[0], Rejected):
            raise ProblemError.of(outcomes[0])
        return PredictionAnswer(
            version=predictor.card.version,
            posters=[
                RefusedPoster(name=poster.name, problem=problem_of(outcome))
                if isinstance(outcome, Rejected)
                else ScoredPoster.of(poster.name, outcome, top=top, threshold=threshold)
                for poster, outcome in zip(posters, outcomes, strict=True)
            ],
        )

    @api.post(
        "/v1/explain",
        tags=["genres"],
        response_class=Response,
        responses={200: _PNG, **documented(400, 413, 415, 422, 503)},
        openapi_extra=REQUEST_BODY,
    )
    def explain(
        posters: Posters,
        genre: Annotated[str | None, Query(description="By default the one with the highest score.")] = None,
        picture: Annotated[Picture, Query(description="See the answer.")] = "overlay",
    ) -> Response:
        """Show where in a poster the model sees a genre (HiResCAM), as a PNG.

        `overlay` is the poster, dark where nothing counts and aglow where something does; `layer` is that shade alone,
        small and transparent, to lay over the poster; `map` is the heat map in grey, in the size of the model's input.
        The headers Onesheet-Genre (percent-encoded), Onesheet-Score and Onesheet-Version say of what.

        Try it: `curl -F image=@poster.jpg 'http://127.0.0.1:8000/v1/explain?genre=Horror' > horror.png`
        """
        predictor = ready()
        if len(posters) != 1:
            raise ProblemError(422, f"image: {len(posters)} posters; a picture explains one of them")
        if genre is not None and genre not in predictor.card.genres:
            raise ProblemError(422, f"genre: {genre!r} is none of {', '.join(predictor.card.genres)}")
        explanation = predictor.explain(posters[0].data, genre)
        if isinstance(explanation, Rejected):
            raise ProblemError.of(explanation)
        headers = {
            "Onesheet-Genre": quote(explanation.genre.genre),
            "Onesheet-Score": f"{explanation.genre.score:.6f}",
            "Onesheet-Version": predictor.card.version,
        }
        return Response(drawn(explanation, picture), media_type="image/png", headers=headers)

    @api.get("/v1/genres", tags=["genres"], responses=documented(503))
    def genres() -> GenresAnswer:
        """The genres that the model knows, with the score from which each counts, and what each is worth."""
        return GenresAnswer.of(ready().card)

    @api.get("/v1/model", tags=["model"], responses=documented(503))
    def model() -> ModelAnswer:
        """The model that serves now, and a promoted version that was refused, if there is one."""
        return ModelAnswer.of(ready().card, follower.refused, max_upload_bytes)

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

    api.mount("/page", StaticFiles(directory=_PAGE), name="page")
    _describe_problems(api)
    return api


def _why_not_ready(follower: Follower) -> str:
    if follower.refused:
        return f"no model is loaded: version {follower.refused.version} is refused: {follower.refused.reason}"
    return "no model is in production; run `onesheet models promote VERSION`"


def _describe_problems(api: FastAPI) -> None:
    """Put Problem among the schemas that the OpenAPI page can refer to; no endpoint returns it by type."""
    schema = api.openapi()
    schema["components"]["schemas"]["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
