"""Which records each retrieval call used: one row per (call, record) with a grade of how well it served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from usufruct_meter.importer.tables import Row, read_table, rejected

COLUMNS: Final = ("call_id", "record_id", "contributor", "grade")
DEFAULT_USED_FROM_GRADE: Final = 3
GRADE_BELOW: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Attribution:
    """An attribution file: the grade of every distinct (call, record) pair and whose each record is.

    `grades` has one entry per call, by call id, and in it one per record, by record id. `repeated_pairs` came
    in several rows, `regraded_pairs` of them with several grades.
    """

    path: Path
    rows: int
    repeated_pairs: int
    regraded_pairs: int
    grades: Mapping[str, Mapping[str, int]]
    contributor_of: Mapping[str, str]

    def used_records(self, call_id: str, used_from_grade: int) -> tuple[str, ...]:
        """Return the records whose grade says that the call used them, by record id."""
        return tuple(record for record, grade in self.grades[call_id].items() if grade >= used_from_grade)

    def records_by_contributor(self) -> dict[str, tuple[str, ...]]:
        """Return every contributor's records, both by name."""
        records: dict[str, list[str]] = {name: [] for name in sorted(set(self.contributor_of.values()))}
        for record, owner in self.contributor_of.items():
            records[owner].append(record)
        return {owner: tuple(mine) for owner, mine in records.items()}


def read_attribution(path: Path) -> Attribution:
    """Read an attribution file whole, or not at all. Of a repeated pair the higher grade counts.

    Raises: InputRejected naming file and line for a missing column, a bad row, a record of two contributors,
            or a file without calls.
    Source: docs/spec.md, agreement rules 9 and 10.
    """
    rows = 0
    seen: dict[str, dict[str, list[int]]] = {}
    owners: dict[str, tuple[str, int]] = {}
    for row in read_table(path, COLUMNS):
        rows += 1
        call, record = row.text("call_id"), row.text("record_id")
        _note_owner(owners, row, record)
        seen.setdefault(call, {}).setdefault(record, []).append(row.whole_number("grade", GRADE_BELOW))
    if not rows:
        raise rejected(path, 1, "no call is in this file", "it needs at least one row after the header")
    grades_of_pairs = [grades for records in seen.values() for grades in records.values()]
    return Attribution(
        path=path,
        rows=rows,
        repeated_pairs=sum(len(grades) > 1 for grades in grades_of_pairs),
        regraded_pairs=sum(len(set(grades)) > 1 for grades in grades_of_pairs),
        grades=MappingProxyType(
            {
                call: {record: max(seen[call][record]) for record in sorted(seen[call])}
                for call in sorted(seen)
            }
        ),
        contributor_of=MappingProxyType({record: owner for record, (owner, _) in sorted(owners.items())}),
    )


def place_call_ms(index: int, count: int, first_ms: int, last_ms: int) -> int:
    """Return when call `index` of `count` is taken to have happened, for calls recorded without a time.

    The calls are spread evenly over the token trace, from its first receipt to its last; a single call stands
    at the first. This is a stated rule, not something observed.

    Units:    milliseconds since 1970.
    Rounding: down.
    """
    if count == 1:
        return first_ms
    return first_ms + (last_ms - first_ms) * index // (count - 1)


def _note_owner(owners: dict[str, tuple[str, int]], row: Row, record: str) -> None:
    contributor = row.text("contributor")
    owner, line = owners.setdefault(record, (contributor, row.line))
    if owner != contributor:
        raise row.rejected(
            f"record {record!r} belongs to {contributor!r} here and to {owner!r} on line {line}",
            "a record has one contributor; correct one of the two",
        )
