"""The posters of a request: multipart parts, the body itself, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from serving.problems import ProblemError

# No part without a file name is a poster; what else is sent beside them is small.
_MAX_FIELDS = 16
_HOW = 'send posters as multipart fields `image`, one as an image/* body, or JSON {"images": [base64, …]}'


@dataclass(frozen=True, slots=True)
class Upload:
    """A poster of a request. name: the file's, as it was sent, or its number from 0."""

    name: str
    data: bytes


class PostersInJson(BaseModel):
    """Posters as base64; each may be a data URL."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[str], Field(min_length=1)]


# For an endpoint's `openapi_extra`: it reads the request itself, so FastAPI knows nothing of the body.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": PostersInJson.model_json_schema(),
                "example": {"images": ["/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD…"]},
            },
        },
    }
}


async def read_uploads(request: Request, *, most: int) -> list[Upload]:
    """The posters of a request, at least one, in order.

    Raises ProblemError: 400 for a body that cannot be parsed, 413 for more than `most` posters, 415 for a body of
    another type, 422 for one without posters.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _parts(request, most=most)
    elif kind == "application/json":
        found = _in_json(await request.body())
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


def _in_json(body: bytes) -> list[Upload]:
    try:
        images = PostersInJson.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors()[0]
        status = 400 if first["type"] == "json_invalid" else 422
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise ProblemError(status, f"{place}: {first['msg']}; {_HOW}") from error
    return [Upload(str(place), _decoded(text, place)) for place, text in enumerate(images)]


def _decoded(text: str, place: int) -> bytes:
    encoded = text.partition(";base64,")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(422, f"images.{place}: not base64 ({error}); {_HOW}") from error


def _too_many(most: int) -> ProblemError:
    return ProblemError(413, f"more than {most} posters in one request; send the others in further ones")
