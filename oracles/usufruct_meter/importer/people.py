"""Who contributed records: a file with one row per record, and a column that says whose it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from usufruct_meter.importer.tables import read_table, rejected

PERSON_COLUMNS: Final = ("person_id", "subject#")


@dataclass(frozen=True, slots=True)
class People:
    """The people of one file and how many records each of them has there (the weight), by person."""

    path: Path
    records: Mapping[str, int]


def read_people(path: Path) -> People:
    """Read a people file whole, or not at all.

    Raises: InputRejected naming file and line for a missing column, a blank person or a file with nobody.
    """
    records: Counter[str] = Counter()
    for row in read_table(path, (), any_of=PERSON_COLUMNS):
        (column,) = row.values
        records[row.text(column)] += 1
    if not records:
        raise rejected(path, 1, "nobody is in this file", "it needs at least one row after the header")
    return People(path, MappingProxyType(dict(sorted(records.items()))))
