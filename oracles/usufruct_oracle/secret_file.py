"""Files that hold a secret: readable by their owner only, made once, never shown.

Secrets come from files and nowhere else: not from the environment, which every child process and many crash
reporters see, and not from arguments, which every user of the machine sees.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import ConfigInvalid

MAX_BYTES: Final = 64 * 1024


def read_secret(path: Path, what: str) -> bytes:
    """Return the content of a secret file; `what` names it in errors, which never show any of it.

    Raises: ConfigInvalid if it is missing, not a plain file, larger than 64 KiB, or if others can read it.
    """
    try:
        # Not blocking: opening a pipe would wait for a writer that may never come.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigInvalid(f"{what} {path}: {error.strerror}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigInvalid(f"{what} {path}: not a plain file")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise ConfigInvalid(
                f"{what} {path}: others can read it (mode {mode:o})", hint=f"chmod 600 {path}"
            )
        content = os.read(file, MAX_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"{what} {path}: {error.strerror}") from error
    finally:
        os.close(file)
    if len(content) > MAX_BYTES:
        raise ConfigInvalid(f"{what} {path}: larger than {MAX_BYTES} bytes", hint="is it the right file?")
    return content


def write_secret(path: Path, content: bytes, what: str) -> None:
    """Make a secret file that only its owner can read, on disk when this returns.

    Raises: ConfigInvalid if something of that name exists, which is never overwritten, or it cannot be made.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ConfigInvalid(f"{what} {path} exists already", hint="choose another name") from error
    except OSError as error:
        raise ConfigInvalid(f"{what} {path}: {error.strerror}") from error
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(file)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ConfigInvalid(f"{what} {path}: {error.strerror}", hint="check free space") from error
