"""Which files a replay reads, and what is to be metered from them. All is checked before anything starts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usufruct_meter.importer import (
    Attribution,
    LicenseMapping,
    People,
    PlannedCall,
    RecordedUsage,
    ReplayPlan,
    plan_replay,
    read_attribution,
    read_mapping,
    read_people,
    read_usage,
    without_retries,
)
from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import InputRejected

ROOT: Final = Path(__file__).resolve().parent.parent
DEFAULT_MAPPING: Final = ROOT / "examples" / "replay" / "recorded.toml"
DEFAULT_USAGE: Final = "usage/exgentic_llm_calls.csv"
DEFAULT_PEOPLE: Final = ("health/parkinsons_telemonitoring.csv", "health/glucose_BIGIDEAs.csv")
DEFAULT_ATTRIBUTION: Final = "attribution/medquad_liveqa_qrels.csv"


class MissingDefault(InputRejected):
    """A file was not given, and the folder of recorded data is not there."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was read, and the plan made of it."""

    usage: RecordedUsage
    people: tuple[People, ...]
    attribution: Attribution | None
    plan: ReplayPlan

    def facts(self) -> list[tuple[str, str]]:
        """Say what was read, what was left out, and what is left to meter."""
        usage, calls = self.usage, without_retries(self.plan.calls)
        token_calls = sum(not self._is_retrieval(call) for call in calls)
        facts = [
            ("usage", f"{usage.rows:,} rows of {usage.path.name}"),
            ("failed", f"{usage.failed_rows:,} rows, no receipt"),
            ("billable", f"{len(usage.calls):,} rows"),
            ("without retries", f"{token_calls:,} calls"),
        ]
        if usage.zero_token_rows:
            facts.insert(2, ("empty", f"{usage.zero_token_rows:,} rows without a token, no receipt"))
        facts += [
            ("people", f"{len(one.records):,} with {sum(one.records.values()):,} records in {one.path.name}")
            for one in self.people
        ]
        return facts + self._attribution_facts([call for call in calls if self._is_retrieval(call)])

    def _attribution_facts(self, calls: Sequence[PlannedCall]) -> list[tuple[str, str]]:
        found = self.attribution
        if found is None:
            return [("attribution", "none was given: no retrieval license")]
        pairs = sum(len(records) for records in found.grades.values())
        by_call = [record for call in calls for record in call.records]
        used = Counter(found.contributor_of[record] for record in by_call)
        by_source = ", ".join(f"{name} {count:,}" for name, count in used.most_common())
        pair_facts = f"{found.repeated_pairs:,}, {found.regraded_pairs:,} of them with several grades"
        return [
            ("attribution", f"{found.rows:,} rows of {found.path.name}, {pairs:,} pairs of call and record"),
            ("repeated pairs", pair_facts),
            ("used pairs", f"{used.total():,}: {by_source}"),
            (
                "used nothing",
                f"{sum(not call.records for call in calls):,} of {len(calls):,} retrieval calls",
            ),
        ]

    def _is_retrieval(self, call: PlannedCall) -> bool:
        return self.plan.licenses[call.license_index].meter is MeterKind.RETRIEVAL


def read_recorded(
    usage: Path | None, people: Sequence[Path], attribution: Path | None, mapping: Path | None
) -> Recorded:
    """Read all files; what is not given is taken from the folder of recorded data, where that is there.

    The mapping that ships belongs to those files: it is used when no file was given at all.
    Raises: InputRejected naming file and line, or what to give where there is no such folder.
    """
    is_all_default = usage is None and not people and attribution is None and mapping is None
    read_people_files = tuple(read_people(path) for path in people or _defaults("PEOPLE", DEFAULT_PEOPLE))
    found_usage = read_usage(usage or _defaults("USAGE", (DEFAULT_USAGE,))[0])
    found_attribution = _attribution(attribution, is_needed=is_all_default)
    rules: LicenseMapping | None = None
    if mapping is not None or is_all_default:
        rules = read_mapping(mapping or DEFAULT_MAPPING)
    plan = plan_replay(found_usage, read_people_files, found_attribution, rules)
    return Recorded(found_usage, read_people_files, found_attribution, plan)


def _attribution(path: Path | None, *, is_needed: bool) -> Attribution | None:
    """Read the attribution file, the default one, or none where files of one's own came without."""
    try:
        return read_attribution(path or _defaults("ATTRIBUTION", (DEFAULT_ATTRIBUTION,))[0])
    except MissingDefault:
        if is_needed:
            raise
        return None


def split_paths(text: str) -> list[Path]:
    """Return one path, or several separated by commas or blanks where the text as a whole is no file."""
    if Path(text).exists():
        return [Path(text)]
    return [Path(part) for part in text.replace(",", " ").split()]


def _defaults(name: str, files: Sequence[str]) -> list[Path]:
    """Return files of the folder of recorded data. Raises: InputRejected if it is not there."""
    shared = Path(os.environ.get("USUFRUCT_SHARED") or ROOT.parent / "shared")
    found = [shared / "data" / file for file in files]
    for path in found:
        if not path.is_file():
            raise MissingDefault(
                f"{name} was not given, and there is no {path}",
                hint="make replay USAGE=calls.csv PEOPLE=people.csv ATTRIBUTION=used.csv",
            )
    return found
