"""Errors as RFC 9457 problem documents: a stable code for machines, a sentence and a hint for people."""

from __future__ import annotations

import http
import logging
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from usufruct_protocol.errors import Policy, UsufructError
from usufruct_protocol.receipts import LaneFault

from usufruct_oracle.http.request_body import CutShort, TooLarge, TooSlow
from usufruct_oracle.intake.admission import FutureDated, Gap, LaneStopped
from usufruct_oracle.limits import TooMany
from usufruct_oracle.peers.auth import NotAPeer

_log = logging.getLogger(__name__)
RETRY_AFTER_S: Final = 1
_STATUS: Final = {
    Policy.NEVER_RETRY: 422,
    Policy.REPLAY: 409,
    Policy.NO_BLIND_RESEND: 409,
    Policy.RETRY: 503,
    Policy.WAIT_OR_EXIT: 503,
}


class NotFound(UsufructError):
    """There is no such thing here (yet)."""

    code = "not_found"
    policy = Policy.NEVER_RETRY


_STATUS_OF_KIND: Final[tuple[tuple[type[UsufructError], int], ...]] = (
    (NotFound, 404),
    (NotAPeer, 403),
    (CutShort, 400),
    (TooSlow, 408),
    (TooLarge, 413),
    (TooMany, 429),
)


def problem(
    status: int, code: str, detail: str, *, retry_after_s: int | None = None, **more: Any
) -> Response:
    """Return a problem document. 429 and 503 always say when to come again."""
    content = {
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **more,
    }
    if retry_after_s is None and status in (429, 503):
        retry_after_s = RETRY_AFTER_S
    headers = None if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def from_error(error: UsufructError) -> Response:
    """Return the problem document of a typed error; its policy decides the status."""
    more: dict[str, Any] = {"hint": error.hint} if error.hint else {}
    if isinstance(error, Gap):
        more["expected_seq"] = error.expected_seq
    if isinstance(error, (LaneFault, LaneStopped, FutureDated)):
        more["seq"] = error.seq
    if isinstance(error, (FutureDated, TooMany)):
        more["retry_after_s"] = error.retry_after_s
    status = next(
        (status for kind, status in _STATUS_OF_KIND if isinstance(error, kind)),
        _STATUS.get(error.policy, 500),
    )
    return problem(status, error.code, str(error), **more)


async def on_usufruct_error(_request: Request, error: Exception) -> Response:
    """Answer what this project raises on purpose."""
    if not isinstance(error, UsufructError):
        raise error
    if error.policy not in _STATUS:
        _log.error("request failed: %s", error)
    return from_error(error)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what the framework raises: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    code = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, error.detail)


async def on_bug(_request: Request, _error: Exception) -> Response:
    """Answer an unexpected exception without its inside; the server logs it."""
    return problem(500, "internal_error", "something unexpected happened; the node's log says what")
