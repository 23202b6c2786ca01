"""Reading a CSV file by its column names, with errors that name file and line.

Recorded files come from other people's exports: a byte order mark, CRLF, blank lines, quoted line breaks and
columns nobody asked for are all fine. Anything that could change a count is not: a missing or doubled column,
a row of the wrong length, an unfinished quote, bytes that are not UTF-8.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_protocol.errors import InputRejected

MAX_FILE_BYTES: Final = 1 << 30

_WHOLE_NUMBER: Final = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its values by column, and where it stands."""

    path: Path
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str:
        """Return a value that must not be blank. Raises: InputRejected."""
        value = self.values[column]
        if not value.strip():
            raise self.rejected(f"{column} is blank", "every row needs one; fill it in or remove the row")
        return value

    def whole_number(self, column: str, below: int) -> int:
        """Return a value as an integer in [0, below). Raises: InputRejected for anything but plain digits."""
        value = self.values[column]
        if not _WHOLE_NUMBER.fullmatch(value):
            raise self.rejected(
                f"{column} is {_shown(value)}, not a whole number of 0 or more", "write digits only"
            )
        digits = value.lstrip("0") or "0"
        # Compared by length first: turning a very long text into an int is slow, and Python refuses it.
        if len(digits) > len(str(below)) or int(digits) >= below:
            raise self.rejected(
                f"{column} is {_shown(value)}, the limit is {below - 1}", "no real call is that large"
            )
        return int(digits)

    def flag(self, column: str) -> bool:
        """Return a true/false value (also 1/0, any case). Raises: InputRejected for anything else."""
        value = self.values[column].strip().lower()
        if value in ("true", "1"):
            return True
        if value in ("false", "0"):
            return False
        raise self.rejected(
            f"{column} is {_shown(self.values[column])}, neither true nor false", "write True or False"
        )

    def rejected(self, what: str, hint: str) -> InputRejected:
        """Return the error for this row, to be raised by the caller."""
        return rejected(self.path, self.line, what, hint)


def rejected(path: Path, line: int, what: str, hint: str) -> InputRejected:
    """Return an error that names file and line, as editors and compilers write them."""
    return InputRejected(f"{path}:{line}: {what}", hint=hint)


def read_table(path: Path, columns: Sequence[str], *, any_of: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a CSV file, with the named columns only.

    `columns` must all be there; of `any_of`, exactly one, found under its own name. Blank lines are skipped;
    line numbers count them, and are those where a row begins.
    Raises: InputRejected naming the file, and the line where there is one.
    """
    _check_file(path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        lines = _numbered(path, reader)
        header = next(lines, None)
        if header is None:
            raise rejected(
                path, 1, "the file is empty", f"its first line must name {', '.join((*columns, *any_of))}"
            )
        places = _places(path, header, columns, any_of)
        for line, fields in lines:
            if len(fields) != len(header[1]):
                raise rejected(
                    path,
                    line,
                    f"{len(fields)} fields where the header has {len(header[1])}",
                    "a comma inside a value needs quotes around the value",
                )
            yield Row(path, line, {name: fields[place] for name, place in places.items()})


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputRejected(f"{path}: no such file", hint="check the path that was given")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputRejected(
            f"{path}: {size} bytes, the limit is {MAX_FILE_BYTES}",
            hint="split the file by time and import the parts",
        )


def _numbered(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of each row that is not blank, and turn the reader's errors into ours."""
    line = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise rejected(
                path, line, f"not readable as CSV ({error})", "check the quotes of this row"
            ) from error
        except UnicodeDecodeError as error:
            raise rejected(
                path, line, f"not UTF-8 at or after this line ({error.reason})", "save the file as UTF-8"
            ) from error
        if fields:
            yield line, fields
        line = reader.line_num + 1  # type: ignore[attr-defined]  # csv readers carry it, the protocol class does not


def _places(
    path: Path, header: tuple[int, list[str]], columns: Sequence[str], any_of: Sequence[str]
) -> dict[str, int]:
    """Map each wanted column to its position."""
    line, names = header
    missing = [name for name in columns if name not in names]
    alternatives = [name for name in any_of if name in names]
    if any_of and not alternatives:
        missing.append(" or ".join(any_of))
    if missing:
        raise rejected(
            path,
            line,
            f"missing column {', '.join(missing)}",
            f"the header has {', '.join(map(_shown, names[:20]))}; columns are separated by commas",
        )
    if len(alternatives) > 1:
        raise rejected(path, line, f"both {' and '.join(alternatives)} are there", "keep the one that counts")
    wanted = [*columns, *alternatives]
    doubled = [name for name in wanted if names.count(name) > 1]
    if doubled:
        raise rejected(
            path, line, f"column {', '.join(doubled)} is there more than once", "keep the one that counts"
        )
    return {name: names.index(name) for name in wanted}


def _shown(value: str) -> str:
    """Quote a value for a message: escaped, and never longer than a line."""
    return repr(value if len(value) <= 60 else value[:57] + "...")
