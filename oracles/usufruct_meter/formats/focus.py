"""Usage and what it comes to, as a dataset of FOCUS 1.3 (FinOps Open Cost and Usage Specification).

One row per lane and period, from the receipts of the spools. Costs of a license are differences of its
cumulative due, so they sum to ⌊units × price / 10⁶⌋ whatever the rows: what the contract would charge if
escrow and cap allow. It is an estimate until the report is final, and no invoice. All mandatory columns of
1.2 and 1.3 are there, `ProviderName` and `PublisherName` too, which 1.3 has renamed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from usufruct_protocol.money import UNITS_PER_PRICE, mul_div_down
from usufruct_protocol.signing import checksum_address

from usufruct_meter.lanes.checkpoints import Periods
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader

FOCUS_VERSION: Final = "1.3"
_PRICE_DECIMALS: Final = 6  # a price is per million units


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusTerms:
    """What receipts don't say.

    price_per_million_units: of the license, in base units of its token
    token, token_decimals:   what the price is in, and how many decimals a base unit has
    currency:                ISO 4217 code that one token is booked as
    unit:                    what one unit is, in the plural: "Tokens"
    provider:                name of who sells: the steward
    """

    price_per_million_units: int
    token: str = "USDC"
    token_decimals: int = 6
    currency: str = "USD"
    unit: str = "Calls"
    provider: str = "Usufruct"


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """What one lane counted in one period."""

    file: LaneFile
    epoch: int
    calls: int
    units: int


def usage_by_period(file: LaneFile, reader: SpoolReader) -> list[PeriodUsage]:
    """Return the usage of a lane per period, ascending; one pass over its receipts."""
    sums: dict[int, list[int]] = {}
    epoch_of = file.periods.epoch_of
    for stored, _ in reader.receipts_from(file.lane, 0):
        entry = sums.setdefault(epoch_of(stored.receipt.issued_at_ms), [0, 0])
        entry[0] += 1
        entry[1] += stored.receipt.units
    return [PeriodUsage(file, epoch, calls, units) for epoch, (calls, units) in sorted(sums.items())]


def focus_rows(usage: Iterable[PeriodUsage], terms: FocusTerms) -> Iterator[dict[str, str]]:
    """Yield the rows of one license's lanes, by period, then lane."""
    cumulative = 0
    for one in sorted(usage, key=lambda one: (one.epoch, one.file.lane)):
        before = mul_div_down(cumulative, terms.price_per_million_units, UNITS_PER_PRICE)
        cumulative += one.units
        after = mul_div_down(cumulative, terms.price_per_million_units, UNITS_PER_PRICE)
        yield _row(one, terms, after - before)


def write_csv(rows: Iterable[dict[str, str]], file: TextIO) -> None:
    """Write rows with a header; the header alone if there are none."""
    writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _row(one: PeriodUsage, terms: FocusTerms, cost_base_units: int) -> dict[str, str]:
    file, lane = one.file, checksum_address(one.file.lane)
    cost = _decimal(cost_base_units, terms.token_decimals)
    unit_price = _decimal(terms.price_per_million_units, terms.token_decimals + _PRICE_DECIMALS)
    start, end = _period(file.periods, one.epoch)
    license_name = f"license-{file.license_id}"
    issuer = f"Usufruct settlement {checksum_address(file.settlement)} on chain {file.chain_id}"
    row = dict.fromkeys(COLUMNS, "")
    row |= dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)
    row |= dict.fromkeys(("ContractedUnitPrice", "ListUnitPrice"), unit_price)
    row |= dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), str(one.units))
    row |= dict.fromkeys(("ConsumedUnit", "PricingUnit"), terms.unit)
    row |= dict.fromkeys(("BillingPeriodStart", "ChargePeriodStart"), start)
    row |= dict.fromkeys(("BillingPeriodEnd", "ChargePeriodEnd"), end)
    row |= dict.fromkeys(
        ("HostProviderName", "ProviderName", "PublisherName", "ServiceProviderName"), terms.provider
    )
    return row | {
        "BillingAccountId": f"eip155:{file.chain_id}:{license_name}",
        "BillingAccountName": f"License {file.license_id}",
        "BillingAccountType": "License",
        "BillingCurrency": terms.currency,
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{one.units} {terms.unit} metered by lane {lane}; an estimate, not an invoice",
        "ChargeFrequency": "Usage-Based",
        "InvoiceIssuerName": issuer,
        "PricingCategory": "Standard",
        "PricingCurrency": terms.token,
        "PricingCurrencyContractedUnitPrice": unit_price,
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": unit_price,
        "ResourceId": lane,
        "ResourceName": file.path.stem,
        "ResourceType": "Lane",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": f"Usufruct license {file.license_id}",
        "ServiceSubcategory": "Other (AI and Machine Learning)",
        "SkuId": license_name,
        "SkuMeter": terms.unit,
        "SkuPriceId": f"{license_name}-price",
        "x_Calls": str(one.calls),
        "x_Epoch": str(one.epoch),
    }


def _period(periods: Periods, epoch: int) -> tuple[str, str]:
    """Return the bounds of a period, start inclusive and end exclusive, in UTC."""
    start_s = periods.genesis_s + (epoch - 1) * periods.epoch_seconds
    return _time_text(start_s), _time_text(start_s + periods.epoch_seconds)


def _time_text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decimal(value: int, decimals: int) -> str:
    """Return value × 10^−decimals, exactly, without zeros at the end."""
    whole, fraction = divmod(value, 10**decimals)
    digits = f"{fraction:0{decimals}d}".rstrip("0") if fraction else ""
    return f"{whole}.{digits}" if digits else str(whole)


COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "HostProviderName",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceProviderName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "x_Calls",
    "x_Epoch",
)
