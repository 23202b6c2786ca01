"""Which model, which people and which price make a license: a small TOML file, or a rule without one.

    [[license]]
    name = "tokens of model A"
    meter = "tokens"
    models = ["vendor/model-a"]
    people = ["cohort.csv"]
    price_per_million_units = 2_000_000

    [[license]]
    name = "retrieval"
    meter = "retrieval"
    used_from_grade = 3
    price_per_million_units = 50_000_000_000

`people` names files among those given, by file name. Prices are base units per million units (tokens, or
calls of a retrieval license). An optional `split_bps` table sets the five shares. Models listed in a
top-level `ignored_models` are left out on purpose; any other model without a license is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from usufruct_protocol.chain_state import MeterKind
from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import SplitBps, check_uint

from usufruct_meter.importer.attribution import DEFAULT_USED_FROM_GRADE, GRADE_BELOW

MAX_MAPPING_BYTES: Final = 1 << 20

# Two dollars per million tokens and five cents per retrieval call, in base units of a 6-decimals token.
DEFAULT_PRICE_PER_MILLION_TOKENS: Final = 2_000_000
DEFAULT_PRICE_PER_MILLION_RETRIEVALS: Final = 50_000_000_000
DEFAULT_SPLIT: Final = SplitBps(
    contributors=7_000, community=1_000, steward=1_000, platform=500, operators=500
)

_METERS: Final = {"tokens": MeterKind.TOKENS, "retrieval": MeterKind.RETRIEVAL}
_COMMON_KEYS: Final = frozenset({"name", "meter", "price_per_million_units", "split_bps"})
_KEYS: Final = {
    MeterKind.TOKENS: _COMMON_KEYS | {"models", "people"},
    MeterKind.RETRIEVAL: _COMMON_KEYS | {"used_from_grade"},
}


@dataclass(frozen=True, slots=True)
class LicenseRule:
    """One license to be. `models` and `people` belong to a token license, the grade to a retrieval one."""

    name: str
    meter: MeterKind
    price_per_million_units: int
    split_bps: SplitBps = DEFAULT_SPLIT
    models: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    used_from_grade: int = DEFAULT_USED_FROM_GRADE


@dataclass(frozen=True, slots=True)
class LicenseMapping:
    """All licenses of a replay, in the order in which they are numbered."""

    licenses: tuple[LicenseRule, ...]
    ignored_models: frozenset[str] = frozenset()


def default_mapping(models: Iterable[str], people: Iterable[str], with_attribution: bool) -> LicenseMapping:
    """Return the rule that holds without a mapping file.

    Every model becomes a token license of its own whose contributors are all the people; an attribution file
    becomes a retrieval license.
    """
    people = tuple(people)
    licenses = [
        LicenseRule(
            name=f"tokens of {model}",
            meter=MeterKind.TOKENS,
            price_per_million_units=DEFAULT_PRICE_PER_MILLION_TOKENS,
            models=(model,),
            people=people,
        )
        for model in models
    ]
    if with_attribution:
        licenses.append(
            LicenseRule(
                name="retrieval",
                meter=MeterKind.RETRIEVAL,
                price_per_million_units=DEFAULT_PRICE_PER_MILLION_RETRIEVALS,
            )
        )
    return LicenseMapping(tuple(licenses))


def read_mapping(path: Path) -> LicenseMapping:
    """Read a mapping file. Raises: InputRejected naming the file and the license that is wrong."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_MAPPING_BYTES + 1)
    except OSError as error:
        raise InputRejected(
            f"{path}: cannot be read ({error.strerror})", hint="check the path that was given"
        ) from error
    if len(data) > MAX_MAPPING_BYTES:
        raise InputRejected(f"{path}: more than {MAX_MAPPING_BYTES} bytes", hint="this is no mapping file")
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputRejected(
            f"{path}: not TOML ({error})", hint="see examples/replay/recorded.toml"
        ) from error
    return _Reader(path).mapping(document)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks one mapping document; every error names the file."""

    path: Path

    def mapping(self, document: dict[str, Any]) -> LicenseMapping:
        self._check_keys("the file", document, {"license", "ignored_models"})
        tables = document.get("license", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            raise self._rejected("it names no license", "write at least one [[license]] table")
        licenses = tuple(
            self._license(f"license {number}", table) for number, table in enumerate(tables, start=1)
        )
        self._check_once("license name", [rule.name for rule in licenses])
        self._check_once("model", [model for rule in licenses for model in rule.models])
        if sum(rule.meter is MeterKind.RETRIEVAL for rule in licenses) > 1:
            raise self._rejected("two retrieval licenses", "ATTRIBUTION is one file, so it is one license")
        ignored = self._texts("the file", document, "ignored_models")
        self._check_once("model", [*ignored, *(model for rule in licenses for model in rule.models)])
        return LicenseMapping(licenses, frozenset(ignored))

    def _license(self, where: str, table: dict[str, Any]) -> LicenseRule:
        name = table.get("name")
        if not isinstance(name, str) or not name.strip():
            raise self._rejected(f"{where} has no name", 'write name = "…"')
        where = f"license {name!r}"
        meter = _METERS.get(str(table.get("meter")))
        if meter is None:
            raise self._rejected(
                f"{where}: meter is {table.get('meter')!r}", f"write one of {', '.join(_METERS)}"
            )
        self._check_keys(where, table, _KEYS[meter])
        models, people = self._texts(where, table, "models"), self._texts(where, table, "people")
        if meter is MeterKind.TOKENS and not (models and people):
            raise self._rejected(f"{where} lacks models or people", "a token license names both")
        return LicenseRule(
            name=name,
            meter=meter,
            price_per_million_units=self._uint(where, table, "price_per_million_units", bits=96),
            split_bps=self._split(where, table),
            models=models,
            people=people,
            used_from_grade=self._grade(where, table),
        )

    def _split(self, where: str, table: dict[str, Any]) -> SplitBps:
        if "split_bps" not in table:
            return DEFAULT_SPLIT
        shares = table["split_bps"]
        names = {"contributors", "community", "steward", "platform", "operators"}
        if not isinstance(shares, dict) or set(shares) != names:
            raise self._rejected(
                f"{where}: split_bps is incomplete", f"it has exactly {', '.join(sorted(names))}"
            )
        try:
            return SplitBps(**shares)
        except InputRejected as error:
            raise self._rejected(
                f"{where}: {error}", "the five shares are whole numbers that sum to 10000"
            ) from error

    def _grade(self, where: str, table: dict[str, Any]) -> int:
        grade = table.get("used_from_grade", DEFAULT_USED_FROM_GRADE)
        if type(grade) is not int or not 0 <= grade < GRADE_BELOW:
            raise self._rejected(
                f"{where}: used_from_grade is {grade!r}", "write a whole number of 0 or more"
            )
        return grade

    def _uint(self, where: str, table: dict[str, Any], key: str, bits: int) -> int:
        try:
            value = check_uint(table.get(key), bits, key)  # type: ignore[arg-type]  # it refuses what is no int
        except InputRejected as error:
            raise self._rejected(f"{where}: {error}", "write a whole number of base units") from error
        if value == 0:
            raise self._rejected(
                f"{where}: {key} is 0", "a license without a price pays nobody; leave it out"
            )
        return value

    def _texts(self, where: str, table: dict[str, Any], key: str) -> tuple[str, ...]:
        values = table.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise self._rejected(f"{where}: {key} is no list of texts", f'write {key} = ["…"]')
        self._check_once(f"{where}: {key} entry", values)
        return tuple(values)

    def _check_keys(self, where: str, table: dict[str, Any], known: frozenset[str] | set[str]) -> None:
        unknown = sorted(set(table) - known)
        if unknown:
            raise self._rejected(
                f"{where}: unknown {', '.join(unknown)}", f"known here: {', '.join(sorted(known))}"
            )

    def _check_once(self, what: str, names: list[str]) -> None:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise self._rejected(f"{what} {repeated[0]!r} is there twice", "each may be there once")

    def _rejected(self, what: str, hint: str) -> InputRejected:
        return InputRejected(f"{self.path}: {what}", hint=hint)
