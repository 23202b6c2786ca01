"""From recorded files to licenses and calls: what is to be metered, decided before the first receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import SplitBps

from usufruct_meter.importer.attribution import Attribution, place_call_ms
from usufruct_meter.importer.mapping import LicenseMapping, LicenseRule, default_mapping
from usufruct_meter.importer.people import People
from usufruct_meter.importer.usage import RecordedCall, RecordedUsage
from usufruct_meter.lanes.draft import MAX_USAGE_ENTRIES


@dataclass(frozen=True, slots=True)
class Contributor:
    """One person or source of a license. `records` is empty where the license pays by weight alone."""

    reference: str
    weight: int
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedLicense:
    """One license to be offered, with everyone it pays. Price in base units per million units."""

    name: str
    meter: MeterKind
    price_per_million_units: int
    split_bps: SplitBps
    collection: str
    contributors: tuple[Contributor, ...]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call to be metered for `licenses[license_index]`; a retry has the response id of an earlier one."""

    license_index: int
    at_ms: int
    units: int
    response_id: str
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Licenses in the order of their numbers, calls (retries too) in replay order, and the stated rules."""

    licenses: tuple[PlannedLicense, ...]
    calls: tuple[PlannedCall, ...]
    rules: tuple[str, ...]

    @property
    def first_call_ms(self) -> int:
        """When the first call ended."""
        return self.calls[0].at_ms

    @property
    def last_call_ms(self) -> int:
        """When the last call ended."""
        return self.calls[-1].at_ms


def without_retries(calls: Iterable[PlannedCall]) -> tuple[PlannedCall, ...]:
    """Return the calls that get a receipt of their own: of one response id per license the earliest.

    `calls` are in replay order; it does not matter what lies between a call and its retry.
    Source: docs/spec.md, agreement rule 7.
    """
    first: dict[tuple[int, str], PlannedCall] = {}
    for call in calls:
        first.setdefault((call.license_index, call.response_id), call)
    return tuple(first.values())


def plan_replay(
    usage: RecordedUsage,
    people: Sequence[People],
    attribution: Attribution | None,
    mapping: LicenseMapping | None = None,
) -> ReplayPlan:
    """Match calls and people to licenses, by the mapping or by the rule that holds without one.

    Raises: InputRejected for a model without a license, a people file that the mapping names and nobody gave,
            and a usage file without a billable call.
    """
    if not usage.calls:
        raise InputRejected(f"{usage.path}: no billable call", hint="every row failed or had no tokens")
    cohorts = _cohorts(people)
    if mapping is None:
        mapping = default_mapping(usage.models, cohorts, with_attribution=attribution is not None)
    index_of_model = _match_models(usage, mapping)
    licenses = tuple(_license(rule, cohorts, attribution) for rule in mapping.licenses)
    token_calls = [
        _token_call(index_of_model[call.model], call) for call in usage.calls if call.model in index_of_model
    ]
    if not token_calls:
        raise InputRejected(
            f"{usage.path}: the mapping ignores every model", hint="give one of them a license"
        )
    retrieval_calls = _retrieval_calls(mapping, attribution, token_calls)
    # sorted() keeps the replay order of token calls that end in the same millisecond.
    calls = sorted([*token_calls, *retrieval_calls], key=lambda call: call.at_ms)
    return ReplayPlan(licenses, tuple(calls), _stated_rules(mapping, cohorts, attribution))


def _cohorts(people: Sequence[People]) -> dict[str, People]:
    """Name people files by file name, the one way a mapping can refer to them."""
    cohorts: dict[str, People] = {}
    for cohort in people:
        other = cohorts.setdefault(cohort.path.name, cohort)
        if other is not cohort:
            raise InputRejected(
                f"{cohort.path}: a people file of the same name was given: {other.path}",
                hint="rename one of them",
            )
    if not cohorts:
        raise InputRejected("no people file was given", hint="PEOPLE names at least one")
    return cohorts


def _match_models(usage: RecordedUsage, mapping: LicenseMapping) -> dict[str, int]:
    index_of_model = {model: index for index, rule in enumerate(mapping.licenses) for model in rule.models}
    for call in usage.calls:
        if call.model not in index_of_model and call.model not in mapping.ignored_models:
            raise InputRejected(
                f"{usage.path}:{call.line}: no license for model {call.model!r}",
                hint="add it to the models of a license in the mapping, or to ignored_models",
            )
    return index_of_model


def _license(
    rule: LicenseRule, cohorts: dict[str, People], attribution: Attribution | None
) -> PlannedLicense:
    if rule.meter is MeterKind.RETRIEVAL:
        collection, contributors = _sources(rule, attribution)
    else:
        collection, contributors = _patients(rule, cohorts)
    return PlannedLicense(
        rule.name, rule.meter, rule.price_per_million_units, rule.split_bps, collection, contributors
    )


def _patients(rule: LicenseRule, cohorts: dict[str, People]) -> tuple[str, tuple[Contributor, ...]]:
    """People of a token license. The same id in two files is two people."""
    unknown = [name for name in rule.people if name not in cohorts]
    if unknown:
        raise InputRejected(
            f"license {rule.name!r} names people file {unknown[0]!r}, which was not given",
            hint=f"given: {', '.join(cohorts)}",
        )
    contributors = tuple(
        Contributor(f"{name}/{person}", weight)
        for name in rule.people
        for person, weight in cohorts[name].records.items()
    )
    return "+".join(rule.people), contributors


def _sources(rule: LicenseRule, attribution: Attribution | None) -> tuple[str, tuple[Contributor, ...]]:
    """Sources of a retrieval license, weighted by how often the calls used their records.

    These weights count only in an epoch whose calls used nothing; else the epoch's own use does. If no call
    of the file used anything they are all 0: then nobody can be paid, and what the calls cost stays due.
    """
    if attribution is None:
        raise InputRejected(f"license {rule.name!r} needs an attribution file", hint="give ATTRIBUTION")
    used = Counter(
        attribution.contributor_of[record]
        for call in attribution.grades
        for record in attribution.used_records(call, rule.used_from_grade)
    )
    name = attribution.path.name
    contributors = tuple(
        Contributor(f"{name}/{source}", used[source], records)
        for source, records in attribution.records_by_contributor().items()
    )
    return name, contributors


def _token_call(license_index: int, call: RecordedCall) -> PlannedCall:
    return PlannedCall(license_index, call.issued_at_ms, call.tokens, call.response_id)


def _retrieval_calls(
    mapping: LicenseMapping, attribution: Attribution | None, token_calls: Sequence[PlannedCall]
) -> list[PlannedCall]:
    """One unit per call, whether it used anything or not: else hiding uses would save money."""
    calls: list[PlannedCall] = []
    if attribution is None:
        return calls
    receipts = without_retries(token_calls)
    first_ms, last_ms = receipts[0].at_ms, receipts[-1].at_ms
    count = len(attribution.grades)
    for license_index, rule in enumerate(mapping.licenses):
        if rule.meter is MeterKind.RETRIEVAL:
            calls += [
                PlannedCall(
                    license_index=license_index,
                    at_ms=place_call_ms(index, count, first_ms, last_ms),
                    units=1,
                    response_id=f"call:{call_id}",
                    records=_checked_records(attribution, call_id, rule.used_from_grade),
                )
                for index, call_id in enumerate(attribution.grades)
            ]
    return calls


def _checked_records(attribution: Attribution, call_id: str, used_from_grade: int) -> tuple[str, ...]:
    records = attribution.used_records(call_id, used_from_grade)
    if len(records) > MAX_USAGE_ENTRIES:
        raise InputRejected(
            f"{attribution.path}: call {call_id!r} used {len(records)} records; at most {MAX_USAGE_ENTRIES}",
            hint="raise used_from_grade in the mapping",
        )
    return records


def _stated_rules(
    mapping: LicenseMapping, cohorts: dict[str, People], attribution: Attribution | None
) -> tuple[str, ...]:
    """Say in words what was joined by rule and not by observation, and what was left out."""
    rules = [
        "No data joins these calls to these people: whom a license pays is a stated rule, not an observation."
    ]
    for rule in mapping.licenses:
        if rule.meter is MeterKind.TOKENS:
            rules.append(
                f"{rule.name}: calls of {', '.join(rule.models)} are taken to pay the people of "
                f"{', '.join(rule.people)}, weighted by number of records."
            )
        elif attribution is not None:
            rules.append(
                f"{rule.name}: a record counts as used from grade {rule.used_from_grade} on; the "
                f"calls of {attribution.path.name} have no times and are spread evenly over the token trace."
            )
    named = {name for rule in mapping.licenses for name in rule.people}
    rules += [
        f"{name} is in no license: its people are paid nothing." for name in cohorts if name not in named
    ]
    if attribution is not None and all(rule.meter is not MeterKind.RETRIEVAL for rule in mapping.licenses):
        rules.append(f"{attribution.path.name} is in no license: its calls are not metered.")
    rules += [
        f"Calls of {model} are left out, as the mapping says." for model in sorted(mapping.ignored_models)
    ]
    return tuple(rules)
