"""A WSGI request as it is read: by the app through `wsgi.input`, and by the meter, which hashes all of it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from usufruct_protocol.errors import InputRejected

from usufruct_meter.http.request import check_idempotency_key, repeated_request_id, request_hasher

_CHUNK_BYTES: Final = 64 * 1024


class WsgiRequest:
    """`wsgi.input` for the app. Never reads beyond the request, whatever the server's own stream would do.

    max_kept_bytes: of a request that the app answers before it has read it
    """

    def __init__(self, environ: dict[str, Any], max_kept_bytes: int) -> None:
        self._key = check_idempotency_key(_header_values(environ, "HTTP_IDEMPOTENCY_KEY"))
        self._hasher = request_hasher(environ["REQUEST_METHOD"], _target(environ), self._key)
        self._authorization = b"\n".join(_header_values(environ, "HTTP_AUTHORIZATION"))
        self._source: BinaryIO = environ["wsgi.input"]
        self._left = _length(environ)
        self._max_kept_bytes = max_kept_bytes
        self._kept: BytesIO | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Read at most so many bytes, or all that is left."""
        if self._kept is not None:
            return self._kept.read(size)
        if size is None or size < 0:
            return b"".join(iter(self._chunk, b""))
        return self._took(self._source.read(self._at_most(size)))

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, or its first bytes."""
        if self._kept is not None:
            return self._kept.readline(size)
        limit = self._at_most(_CHUNK_BYTES if size is None or size < 0 else size)
        return self._took(self._source.readline(limit)) if limit else b""

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """Read lines until the end, or until so many bytes came together."""
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint and total >= hint:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def read_rest(self, *, keep: bool) -> None:
        """Hash what the app has not read: the receipt is for the whole request.

        keep: the app may still want it. Raises: InputRejected if that is more than is kept.
        """
        if self._kept is not None:
            return
        kept = BytesIO()
        for chunk in iter(self._chunk, b""):
            if keep:
                kept.write(chunk)
                if kept.tell() > self._max_kept_bytes:
                    raise InputRejected("the app answers before it has read a request this large")
        kept.seek(0)
        self._kept = kept

    def digest(self) -> bytes:
        """Return the digest that the receipt commits to."""
        return self._hasher.digest()

    def response_id(self) -> str | None:
        """Return what identifies a repeated request, or None."""
        return repeated_request_id(self.digest(), self._authorization, self._key)

    def _chunk(self) -> bytes:
        limit = self._at_most(_CHUNK_BYTES)
        return self._took(self._source.read(limit)) if limit else b""

    def _at_most(self, size: int) -> int:
        return size if self._left is None else min(size, self._left)

    def _took(self, data: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(data)
        self._hasher.update(data)
        return data


def path_of(environ: dict[str, Any]) -> str:
    """Return the path that was asked for, decoded."""
    raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return str(raw.encode("latin-1").decode("utf-8", "replace"))


def _target(environ: dict[str, Any]) -> bytes:
    """Return path and query as the client sent them, where the server tells; else quoted again."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw and raw.startswith("/"):
        return str(raw).encode("latin-1")
    path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"))
    query = environ.get("QUERY_STRING", "")
    return (f"{path}?{query}" if query else path).encode("latin-1")


def _length(environ: dict[str, Any]) -> int | None:
    """Return how much the request carries; None if the server ends its stream by itself."""
    text = environ.get("CONTENT_LENGTH", "")
    if text:
        return int(text)
    return None if environ.get("wsgi.input_terminated") else 0


def _header_values(environ: dict[str, Any], name: str) -> list[bytes]:
    value = environ.get(name)
    return [] if value is None else [value.encode("latin-1")]
