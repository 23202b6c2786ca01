"""What the commands share: output, errors, and types of arguments.

Results go to stdout (with --json one document), progress and errors to stderr; errors end with a hint and a
code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.signing import parse_address

FOUND_WRONG: Final = 1
TRY_AGAIN: Final = 3
NEEDS_A_PERSON: Final = 4

Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any, name: str, run: Run, text: str, *, location: bool = False
) -> argparse.ArgumentParser:
    """Add a command; with `location` it takes a lane file or a folder of them as `lane`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    if location:
        parser.add_argument("lane", type=Path, help="a lane file, or a folder of them")
    return parser


def show(options: argparse.Namespace, documents: Sequence[dict[str, Any]]) -> int:
    """Print results, and return 0."""
    if options.json:
        print_json(documents)
        return 0
    for number, document in enumerate(documents):
        if number:
            print()
        for name, value in document.items():
            print(f"{name:<20} {_plain(value)}")
    return 0


def print_json(document: Any) -> None:
    """Print one document."""
    print(json.dumps(document, indent=2))


def complain(message: str, hint: str, code: str) -> None:
    """Say what went wrong, and what to do."""
    print(f"error: {message}\nhint: {hint} [{code}]", file=sys.stderr)


def say(message: str) -> None:
    """Tell progress."""
    print(message, file=sys.stderr)


def address(text: str) -> bytes:
    """An argument that is an address."""
    try:
        return parse_address(text)
    except InputRejected as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def bytes32(text: str) -> bytes:
    """An argument of 32 bytes."""
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise argparse.ArgumentTypeError(f"expected 0x and 64 hex digits, got {text!r}")
    return value


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "\n                     ".join(_plain(item) for item in value) or "none"
    return "-" if value is None else str(value)
