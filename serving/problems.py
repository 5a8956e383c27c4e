"""Errors over HTTP as problem details (RFC 9457), and the body limit that must come before any parser."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crawler.outcomes import Reason, Rejected

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, in words; `reason` is one word for programs, where an image was refused."""

    type: str = "about:blank"
    title: str = Field(examples=["Unsupported Media Type"])
    status: int = Field(examples=[415])
    detail: str = Field(examples=["the image is refused (not_an_image): starts with b'%PDF-1.7', …"])
    reason: Reason | None = Field(None, examples=["not_an_image"])


class ProblemError(HTTPException):
    """Raised by an endpoint to answer with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: Reason | None = None,
        retry_after_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        waiting = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(status, detail, {**waiting, **(headers or {})})
        self.reason = reason

    @classmethod
    def of(cls, problem: Problem) -> ProblemError:
        """The answer that is this problem."""
        return cls(problem.status, problem.detail, reason=problem.reason)

    @property
    def problem(self) -> Problem:
        """What is answered."""
        return _problem(self.status_code, self.detail, reason=self.reason)


def problem_of(rejected: Rejected) -> Problem:
    """What is wrong with an image that is refused: 415 where it is no image at all, 422 for all else."""
    status = 415 if rejected.reason in (Reason.NOT_AN_IMAGE, Reason.HTML) else 422
    return _problem(status, _refusal(rejected.reason) + rejected.detail, reason=rejected.reason)


def rejected_of(problem: Problem) -> Rejected:
    """The refusal that `problem_of` told."""
    reason = problem.reason or Reason.REFUSED
    return Rejected(reason, problem.detail.removeprefix(_refusal(reason)))


def _refusal(reason: Reason) -> str:
    return f"the image is refused ({reason}): "


def answer_with_problems(api: FastAPI) -> None:
    """Make every error of the API a problem: ours, the framework's own, and the unforeseen."""
    api.add_exception_handler(HTTPException, _on_http_error)
    api.add_exception_handler(RequestValidationError, _on_invalid_request)
    api.add_exception_handler(Exception, _on_crash)


def problem_response(status: int, detail: str, *, reason: Reason | None = None) -> JSONResponse:
    """A problem as a response."""
    problem = _problem(status, detail, reason=reason)
    return JSONResponse(problem.model_dump(mode="json", exclude_none=True), status, media_type=MEDIA_TYPE)


def _problem(status: int, detail: str, *, reason: Reason | None) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, reason=reason)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that may answer with problems of these statuses, for its OpenAPI page."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


class BodyLimit:
    """ASGI middleware: a request body over the limit is answered with 413, before anything parses it.

    A declared Content-Length is refused at once; a body that lies or declares none is cut off while it streams.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            await problem_response(413, self._detail())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # Within the app, where its handler turns it into the answer.
                raise ProblemError(413, self._detail())
            return message

        await self.app(scope, counted, send)

    def _detail(self) -> str:
        return f"the request is larger than {self.max_bytes} bytes; send a smaller image"


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type
    response = problem_response(error.status_code, error.detail, reason=getattr(error, "reason", None))
    response.headers.update(error.headers or {})
    return response


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this type
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return problem_response(422, f"{name}: {first['msg']}")


async def _on_crash(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response(500, "an unforeseen error; the server's log has the traceback")
