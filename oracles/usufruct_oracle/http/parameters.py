"""Numbers and bytes in paths and queries: read strictly, refused with their name."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import check_uint

_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")


def path_uint(request: Request, name: str, bits: int) -> int:
    """Return a whole number of at most `bits` bits in the path. Raises: InputRejected."""
    return check_uint(request.path_params[name], bits, name)


def path_bytes(request: Request, name: str, length: int) -> bytes:
    """Return `length` bytes that the path gives as 0x and hex digits. Raises: InputRejected."""
    return hex_bytes(request.path_params[name], name, length)


def query_uint(request: Request, name: str) -> int:
    """Return a whole number of at most 18 digits in the query. Raises: InputRejected."""
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InputRejected(f"query parameter {name} must be a whole number")
    return int(text)


def hex_bytes(text: str, name: str, length: int) -> bytes:
    """Return the `length` bytes written as 0x and hex digits. Raises: InputRejected."""
    if len(text) != 2 + 2 * length or not _HEX.fullmatch(text):
        raise InputRejected(f"{name} must be 0x and {2 * length} hex digits")
    return bytes.fromhex(text[2:])
