"""A client of the endpoint: typed answers, errors in a sentence, and retries, which do no harm: nothing is changed.

client = Client("http://127.0.0.1:8000")
[poster] = client.predict([Path("poster.jpg")]).posters
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError, MaxRetryError

from cluster.errors import ServingError
from serving.answers import GenresAnswer, ModelAnswer, PredictionAnswer, RefusedPoster
from serving.explanations import Picture
from serving.problems import Problem
from serving.similar_answers import SimilarAnswer

# Busy, restarting, or behind a proxy that found no replica or lost it (Ray's say 500): the next try may meet another.
_WORTH_A_RETRY = (429, 500, 502, 503, 504)
_CONNECT_TIMEOUT_S = 5.0

Answer = TypeVar("Answer", bound=BaseModel)
PosterAnswer = TypeVar("PosterAnswer", PredictionAnswer, SimilarAnswer)


class EndpointError(ServingError):
    """The endpoint said no, or answered what is no answer. problem: its own words, where it had some."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Explained:
    """A PNG of where in a poster the model sees a genre."""

    picture: bytes
    genre: str
    score: float
    version: str


class Client:
    """Asks one endpoint. Safe to use from several threads."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 60.0, retries: int = 5) -> None:
        """key: an API key, where the endpoint asks for one. timeout_s: for each answer. retries: of a request that met
        no server or a busy one, each after a longer wait, or after what Retry-After says."""
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=timeout_s),
            retries=urllib3.Retry(
                total=retries,
                redirect=0,
                status_forcelist=_WORTH_A_RETRY,
                allowed_methods=None,
                backoff_factor=0.2,
                backoff_jitter=0.2,
                raise_on_status=False,
            ),
        )

    def predict(
        self,
        posters: Sequence[Path | bytes],
        *,
        top: int | None = None,
        threshold: float | None = None,
        explain: bool = False,
        genre: str | None = None,
    ) -> PredictionAnswer:
        """The genres of posters, one entry each, in order; one that is refused has its problem in its place.

        top: only so many genres a poster. threshold: of what counts, in place of each genre's own. explain: with a heat
        map of each poster's best genre, or of `genre`. Raises EndpointError, and OSError for a file that is unreadable.
        """
        asked = {"top": top, "threshold": threshold, "explain": explain or None, "genre": genre}
        return self._told(PredictionAnswer, "predict", _names(posters), posters=posters, **asked)

    def predict_urls(
        self, urls: Sequence[str], *, top: int | None = None, threshold: float | None = None
    ) -> PredictionAnswer:
        """The genres of posters that the endpoint fetches itself, where its operator allows that. As `predict`."""
        asked = {"top": top, "threshold": threshold}
        return self._told(PredictionAnswer, "predict", urls, json={"urls": list(urls)}, **asked)

    def similar(self, posters: Sequence[Path | bytes], *, top: int = 10) -> SimilarAnswer:
        """The most similar posters of the model's dataset for each poster, in order. Raises as `predict`."""
        return self._told(SimilarAnswer, "similar", _names(posters), posters=posters, top=top)

    def similar_urls(self, urls: Sequence[str], *, top: int = 10) -> SimilarAnswer:
        """The same for posters that the endpoint fetches itself, where its operator allows that."""
        return self._told(SimilarAnswer, "similar", urls, json={"urls": list(urls)}, top=top)

    def poster(self, imdb_id: str) -> bytes:
        """A small picture of a poster of the dataset, a JPEG, where the endpoint's operator allows that."""
        picture: bytes = self._ask("GET", f"v1/posters/{quote(imdb_id, safe='')}").data
        return picture

    def card(self) -> str:
        """The model's card, Markdown in the Hugging Face format."""
        return str(self._ask("GET", "v1/card").data, "utf-8")

    def explain(self, poster: Path | bytes, *, genre: str | None = None, picture: Picture = "overlay") -> Explained:
        """Where in a poster the model sees a genre, by default the one with the highest score. Raises as `predict`."""
        answer = self._ask("POST", "v1/explain", posters=[poster], genre=genre, picture=picture)
        said = answer.headers
        try:
            genre, score, version = (said[f"Onesheet-{name}"] for name in ("Genre", "Score", "Version"))
            return Explained(answer.data, unquote(genre), float(score), version)
        except (KeyError, ValueError) as error:
            raise EndpointError(f"{self.url} is no onesheet endpoint: its picture says not of what") from error

    def genres(self) -> GenresAnswer:
        """The genres that the model knows."""
        return self._read(GenresAnswer, self._ask("GET", "v1/genres"))

    def model(self) -> ModelAnswer:
        """The model that serves now."""
        return self._read(ModelAnswer, self._ask("GET", "v1/model"))

    def _told(self, kind: type[PosterAnswer], path: str, names: Sequence[str], **asked: Any) -> PosterAnswer:
        try:
            answer = self._ask("POST", f"v1/{path}", **asked)
        except EndpointError as error:
            # A poster alone has no neighbours that could be answered for: its problem is the whole answer.
            if len(names) != 1 or error.problem is None or error.problem.reason is None:
                raise
            refused = RefusedPoster(name=names[0], problem=error.problem)
            return kind(version=self.model().version, posters=[refused])
        return self._read(kind, answer)

    def _ask(
        self,
        method: str,
        path: str,
        posters: Sequence[Path | bytes] = (),
        *,
        json: dict[str, Any] | None = None,
        **query: object,
    ) -> Any:
        parts = [("image", (_name(poster, place), _bytes(poster))) for place, poster in enumerate(posters)]
        asked = {name: str(value) for name, value in query.items() if value is not None}
        address = f"{self.url}/{path}" + (f"?{urlencode(asked)}" if asked else "")
        try:
            body: dict[str, Any] = {"json": json} if json else {"fields": parts or None}
            answer = self._pool.request(method, address, **body)
        except MaxRetryError as error:
            raise EndpointError(f"{self.url} does not answer: {error.reason}") from error
        except HTTPError as error:
            raise EndpointError(f"{self.url} cannot be asked: {error}") from error
        if answer.status == 200:
            return answer
        try:
            problem = Problem.model_validate_json(answer.data)
        except ValidationError:
            raise EndpointError(f"{self.url}/{path} answers {answer.status}") from None
        raise EndpointError(f"{self.url}: {problem.detail}", problem)

    def _read(self, kind: type[Answer], answer: Any) -> Answer:
        try:
            return kind.model_validate_json(answer.data)
        except ValidationError as error:
            raise EndpointError(f"{self.url} is no onesheet endpoint: {error.errors()[0]['msg']}") from error


def _names(posters: Sequence[Path | bytes]) -> list[str]:
    return [_name(poster, place) for place, poster in enumerate(posters)]


def _name(poster: Path | bytes, place: int) -> str:
    return poster.name if isinstance(poster, Path) else str(place)


def _bytes(poster: Path | bytes) -> bytes:
    return poster.read_bytes() if isinstance(poster, Path) else poster
