"""What the endpoint answers of similar posters: the typed bodies, with the examples that its OpenAPI page shows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from serving.answers import REFUSED_EXAMPLE, RefusedPoster
from serving.similar import Found

_EXAMPLE: dict[str, Any] = {
    "version": "20260301-1200-mobilenet_v2",
    "posters": [
        {
            "name": "alien.jpg",
            "similar": [
                {
                    "imdb_id": "tt0090605",
                    "title": "Aliens",
                    "year": 1986,
                    "genres": ["Action", "Adventure", "Sci-Fi"],
                    "similarity": 0.8127,
                    "picture": "v1/posters/tt0090605",
                },
                {
                    "imdb_id": "tt0106677",
                    "title": "Dazed and Confused",
                    "year": 1993,
                    "genres": ["Comedy"],
                    "similarity": 0.6534,
                    "picture": "v1/posters/tt0106677",
                },
            ],
            "timings_ms": {"decode": 2.7, "find": 27.4},
        },
        REFUSED_EXAMPLE,
    ],
}


class SimilarPosterAnswer(BaseModel):
    """A poster of the dataset, and the cosine of what the model sees in it and in the one that was sent.

    picture: where this server shows it, where its operator allows that.
    """

    imdb_id: str
    title: str | None = None
    year: int | None = None
    genres: list[str]
    similarity: float
    picture: str | None = None


class FindTimings(BaseModel):
    """Milliseconds in the replica: reading and resizing the image; the model and the index, for all sent together."""

    decode: float
    find: float


class FoundPoster(BaseModel):
    """The posters most like one, the most similar first."""

    name: str
    similar: list[SimilarPosterAnswer]
    timings_ms: FindTimings

    @classmethod
    def of(cls, name: str, found: Found, *, shows_posters: bool) -> FoundPoster:
        """The answer that tells what was found."""
        return cls(
            name=name,
            similar=[
                SimilarPosterAnswer(
                    imdb_id=poster.imdb_id,
                    title=poster.title,
                    year=poster.year,
                    genres=list(poster.genres),
                    similarity=poster.similarity,
                    picture=f"v1/posters/{poster.imdb_id}" if shows_posters else None,
                )
                for poster in found.posters
            ],
            timings_ms=FindTimings(decode=round(found.decode_ms, 2), find=round(found.find_ms, 2)),
        )


class SimilarAnswer(BaseModel):
    """One entry a poster of the request, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    version: str
    posters: list[FoundPoster | RefusedPoster]
