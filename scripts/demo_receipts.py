"""The caller's check at the end: is every receipt that I kept counted, under a report that is on chain?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from usufruct_chain.reader import Reader
from usufruct_chain.signatures import settlement_domain
from usufruct_meter.verify import Verdict, check_counted
from usufruct_protocol.errors import InvariantBroken

from scripts.demo_client import Answered


@dataclass(frozen=True, slots=True)
class CountedReceipts:
    """What a caller found: receipts kept, different ones that are counted, and how many per license."""

    kept: int
    counted: int
    per_license: dict[int, int]


def check_receipts(
    answered: Sequence[Answered], reader: Reader, node_urls: Sequence[str], epoch: int
) -> CountedReceipts:
    """Check every kept receipt as anyone can who has it: with what nodes tell and the report hash on chain.

    A receipt is counted if its lane signed it for this very request, and its hash is the leaf at its seq of a
    lane tree that the finalized report commits to.
    Raises: InvariantBroken naming the first receipt that is not.
    """
    kept = [one.receipt for one in answered]
    domain = settlement_domain(reader.contracts.deployment)
    findings = check_counted(kept, node_urls, epoch, domain, reader.report_hash(epoch))
    for one, finding in zip(answered, findings, strict=True):
        if finding.verdict is not Verdict.COUNTED:
            raise InvariantBroken(f"the receipt of {one.key} is {finding.verdict}: {finding.detail}")
    return CountedReceipts(
        kept=len(kept),
        counted=len({(finding.lane, finding.seq) for finding in findings}),
        per_license=dict(Counter(one.license_id for one in answered)),
    )
