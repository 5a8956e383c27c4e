"""The posters of a request: multipart parts, the body itself, or base64 and URLs in JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from serving.fetching import Fetcher, Room
from serving.problems import Problem, ProblemError

# No part without a file name is a poster; what else is sent beside them is small.
_MAX_FIELDS = 16
_HOW = (
    "send posters as multipart fields `image`, one as an image/* body, "
    'or in JSON: {"images": [base64, …], "urls": [URL, …]}'
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A poster of a request, or why there is none.

    name: the file's, as it was sent; the last part of a URL; or its number from 0.
    """

    name: str
    data: bytes | Problem


class PostersInJson(BaseModel):
    """Posters as base64, each perhaps as a data URL, then posters by their URLs."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(default=[], description="Posters as base64; each may be a data URL.")
    urls: list[str] = Field(
        default=[], description="Addresses that the server fetches posters from, where its operator allows that."
    )

    @model_validator(mode="after")
    def _has_some(self) -> Self:
        if not self.images and not self.urls:
            raise ValueError("neither images nor urls")
        return self


# For an endpoint's `openapi_extra`: it reads the request itself, so FastAPI knows nothing of the body.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": PostersInJson.model_json_schema(),
                "examples": {
                    "base64": {"value": {"images": ["/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD…"]}},
                    "URLs": {"value": {"urls": ["https://example.org/posters/alien.jpg"]}},
                },
            },
        },
    }
}


async def read_uploads(request: Request, *, most: int, fetcher: Fetcher | None) -> list[Upload]:
    """The posters of a request, at least one, in order; one whose URL gives none has its problem in its place.

    fetcher: None where URLs are not fetched. Raises ProblemError: 400 for a body that cannot be parsed, 403 for URLs
    that are not fetched here, 413 for more than `most` posters, 415 for a body of another type, 422 for one without
    posters.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _parts(request, most=most)
    elif kind == "application/json":
        return await _in_json(await request.body(), most=most, fetcher=fetcher)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        found = [Upload("0", await request.body())]
    else:
        raise ProblemError(415, f"a body of type {kind or 'nothing'} holds no posters; {_HOW}")
    if len(found) > most:
        raise _too_many(most)
    return found


async def _parts(request: Request, *, most: int) -> list[Upload]:
    try:
        async with request.form(max_files=most, max_fields=_MAX_FIELDS) as form:
            parts = [part for part in form.getlist("image") if isinstance(part, UploadFile)]
            found = [Upload(part.filename or str(place), await part.read()) for place, part in enumerate(parts)]
    except ProblemError:
        raise
    except HTTPException as error:
        if "Too many files" in error.detail:
            raise _too_many(most) from error
        raise ProblemError(400, f"the multipart body cannot be read: {error.detail}") from error
    if not found:
        raise ProblemError(422, f"image: no file in this field; {_HOW}")
    return found


async def _in_json(body: bytes, *, most: int, fetcher: Fetcher | None) -> list[Upload]:
    try:
        posters = PostersInJson.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        status = 400 if first["type"] == "json_invalid" else 422
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise ProblemError(status, f"{place}: {first['msg'].removeprefix('Value error, ')}; {_HOW}") from error
    if len(posters.images) + len(posters.urls) > most:
        raise _too_many(most)
    found = [Upload(str(place), _decoded(text, place)) for place, text in enumerate(posters.images)]
    if not posters.urls:
        return found
    if fetcher is None:
        raise ProblemError(403, "urls: this server fetches no URLs; send the posters themselves")
    room = fetcher.room()
    return found + await asyncio.gather(*(_fetched(fetcher, url, room) for url in posters.urls))


async def _fetched(fetcher: Fetcher, url: str, room: Room) -> Upload:
    name = urlsplit(url).path.rpartition("/")[2] or url
    try:
        return Upload(name, await fetcher.fetch(url, room))
    except ProblemError as error:
        return Upload(name, error.problem)


def _decoded(text: str, place: int) -> bytes:
    encoded = text.partition(";base64,")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(422, f"images.{place}: not base64 ({error}); {_HOW}") from error


def _too_many(most: int) -> ProblemError:
    return ProblemError(413, f"more than {most} posters in one request; send the others in further ones")
