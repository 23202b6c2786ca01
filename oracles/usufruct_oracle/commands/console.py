"""What all commands of `usufruct-oracle` share: options, output, errors with hint, code and exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from usufruct_protocol.errors import Policy, UsufructError

FOUND_WRONG: Final = 1
NEEDS_A_PERSON: Final = 4
_EXIT: Final = {
    Policy.NEVER_RETRY: 2,
    Policy.EXIT: 2,
    Policy.RETRY: 3,
    Policy.WAIT_OR_EXIT: NEEDS_A_PERSON,
    Policy.NO_BLIND_RESEND: NEEDS_A_PERSON,
    Policy.REPLAY: NEEDS_A_PERSON,
    Policy.HALT: NEEDS_A_PERSON,
}

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The node's settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
EpochOption = Annotated[int, typer.Option("--epoch", "-e", min=1, help="Number of the epoch.")]
DEFAULT_CONFIG: Final = Path("node.json")


@contextmanager
def reported() -> Iterator[None]:
    """Turn typed errors into a message, a hint, a code and an exit status."""
    try:
        yield
    except UsufructError as error:
        console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        console.print(f"error: {error}")
        if error.hint:
            console.print(f"hint: {error.hint}")
        console.print(f"code: {error.code}")
        raise typer.Exit(_EXIT[error.policy]) from error


def say(text: str) -> None:
    """Print a line for people on stdout."""
    Console(highlight=False, markup=False, soft_wrap=True).print(text)


def print_json(content: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(content, indent=2))
