"""The endpoints of similar posters, their pictures, and the model's card."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from cluster.errors import KeyNotFoundError, StoreUnavailableError
from crawler.outcomes import Rejected
from serving import access
from serving.answers import RefusedPoster
from serving.card_page import card_as_html
from serving.predictor import Predictor, predict_among
from serving.problems import Problem, ProblemError, documented, problem_of
from serving.similar_answers import FoundPoster, SimilarAnswer
from serving.threads import done_by
from serving.thumbnails import Thumbnails
from serving.turns import Turns
from serving.uploads import REQUEST_BODY, Upload
from training.model_card import render_model_card

VERSION_HEADER = "Onesheet-Version"
_MAX_TOP = 100
_DAY_S = 86_400
_JPEG = {"description": "The picture.", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
_CARD = {
    "description": "The card.",
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/markdown", "text/html")},
}
# Opened by itself, what is sent runs nothing and loads nothing.
_INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}


def add_similar(
    v1: APIRouter,
    threads: Executor,
    in_turn: Turns,
    *,
    ready: Callable[[], Predictor],
    thumbnails: Thumbnails | None,
    retry_after_s: float,
) -> None:
    """Add them to the API. threads: do the work of those without posters."""

    @v1.post(
        "/similar",
        tags=["similar posters"],
        responses=documented(400, 401, 403, 404, 413, 415, 422, 429, 503, 504),
        response_model_exclude_none=True,
        openapi_extra=REQUEST_BODY,
    )
    @in_turn
    def similar(
        request: Request,
        posters: list[Upload],
        response: Response,
        top: Annotated[int, Query(ge=1, le=_MAX_TOP, description="So many for each poster, the most similar.")] = 10,
    ) -> SimilarAnswer:
        """Find the posters of the model's dataset that it sees most like the one that is sent, with their titles.

        Posters are sent as to `/v1/predict`, one or many; one that is refused has its problem in its place. A model
        that was registered without an index of its dataset is answered with 404.

        Try it: `curl -F image=@poster.jpg 'http://127.0.0.1:8000/v1/similar?top=5'`
        """
        predictor = ready()
        index_of(predictor)
        access.of(request.scope).version = response.headers[VERSION_HEADER] = predictor.card.version
        told = predict_among(lambda images: predictor.similar(images, top=top), [poster.data for poster in posters])
        outcomes = [problem_of(outcome) if isinstance(outcome, Rejected) else outcome for outcome in told]
        if len(outcomes) == 1 and isinstance(outcomes[0], Problem):
            raise ProblemError.of(outcomes[0])
        return SimilarAnswer(
            version=predictor.card.version,
            posters=[
                RefusedPoster(name=poster.name, problem=outcome)
                if isinstance(outcome, Problem)
                else FoundPoster.of(poster.name, outcome, shows_posters=thumbnails is not None)
                for poster, outcome in zip(posters, outcomes, strict=True)
            ],
        )

    @v1.get(
        "/posters/{imdb_id}",
        tags=["similar posters"],
        response_class=Response,
        responses={200: _JPEG, **documented(401, 403, 404, 422, 429, 503)},
    )
    @done_by(threads)
    def poster(
        imdb_id: Annotated[str, Path(pattern=r"^tt\d{7,10}$", examples=["tt0078748"])],
    ) -> Response:
        """A small picture (JPEG, at most 240 x 360 px) of a poster of the model's dataset, drawn anew.

        Only where the server's operator allows that: to show posters needs a right of its own.
        """
        if thumbnails is None:
            raise ProblemError(403, "this server shows no posters; its operator may allow it (show_posters)")
        if not index_of(ready()).has(imdb_id):
            raise ProblemError(404, f"{imdb_id} is no poster of the model's dataset")
        try:
            picture = thumbnails.get(imdb_id)
        except KeyNotFoundError:
            picture = None
        except StoreUnavailableError as error:
            raise ProblemError(
                503, "the store of the posters does not answer", retry_after_s=math.ceil(retry_after_s)
            ) from error
        if picture is None:
            raise ProblemError(404, f"the store has no picture of {imdb_id} that can be shown")
        return Response(
            picture, media_type="image/jpeg", headers={**_INERT, "Cache-Control": f"private, max-age={_DAY_S}"}
        )

    @v1.get(
        "/card",
        tags=["model"],
        response_class=Response,
        responses={200: _CARD, **documented(401, 429, 503)},
    )
    def card(request: Request) -> Response:
        """The model's card in the Hugging Face format: Markdown, or a piece of HTML for `Accept: text/html`."""
        predictor = ready()
        text = render_model_card(predictor.card)
        headers = {**_INERT, VERSION_HEADER: predictor.card.version, "Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            return Response(card_as_html(text), media_type="text/html; charset=utf-8", headers=headers)
        return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


def index_of(predictor: Predictor) -> Any:
    """The index of the model that serves. Raises ProblemError where it has none."""
    if predictor.finder is None:
        raise ProblemError(404, predictor.why_no_index)
    return predictor.finder.index
