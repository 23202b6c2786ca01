"""A caller's check that trusts no node: the report's hash, and the lanes, are what the chain says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.receipts import decode_signed_receipt

from usufruct_meter.chain.rpc import ChainUnavailable
from usufruct_meter.chain.views import ChainView, LaneOnChain, each
from usufruct_meter.verify import Finding, KeptReceipt, Verdict, check_counted, check_signatures


def check_on_chain(
    kept: Iterable[KeptReceipt], node_urls: Sequence[str], views: Sequence[ChainView], domain: bytes
) -> list[Finding]:
    """Say of each receipt whether the last finalized report counts it; counts never fall, so one is enough.

    A receipt older than the merge delay at the end of that period, and not counted, is HIDDEN: with an anchor
    or acknowledgements the buyer can still show that it reported it, without them its bond pays.
    Raises: ChainUnavailable if no endpoint answers; ConfigInvalid.
    """
    receipts = list(kept)
    epoch = min(each(views, lambda view: view.last_epoch()))
    hashes = set(each(views, lambda view: view.report_hash(epoch))) if epoch else set()
    if len(hashes) > 1:
        raise ChainUnavailable(f"endpoints disagree about the report of epoch {epoch}: one of them lies")
    report_hash = hashes.pop() if hashes else None
    if report_hash is None:
        findings = [_not_due(one) for one in check_signatures(receipts, domain)]
    else:
        findings = check_counted(receipts, node_urls, epoch, domain, report_hash, _merge_delay_s(views))
    known: dict[bytes, LaneOnChain | None] = {}
    return [_with_lane(one, views, known) for one in findings]


def _merge_delay_s(views: Sequence[ChainView]) -> int:
    return max(each(views, lambda view: view.neighbors().merge_delay_s))


def _not_due(finding: Finding) -> Finding:
    if finding.verdict is not Verdict.SIGNED:
        return finding
    return replace(finding, verdict=Verdict.NOT_DUE, detail="no report is final yet")


def _with_lane(
    finding: Finding, views: Sequence[ChainView], known: dict[bytes, LaneOnChain | None]
) -> Finding:
    """A receipt is worth something only if its lane is registered, and was not revoked for cheating."""
    if finding.verdict is Verdict.DIFFERS:
        return finding
    try:
        receipt, _ = decode_signed_receipt(finding.text)
    except InputRejected:
        return finding
    if receipt.lane not in known:
        known[receipt.lane] = each(views, lambda view: view.lane(receipt.lane))[0]
    lane = known[receipt.lane]
    if lane is None:
        return replace(finding, verdict=Verdict.DIFFERS, detail="its lane is not registered")
    terms = lane.registration
    if not terms.valid_from <= receipt.issued_at_ms < terms.valid_to:
        return replace(
            finding, verdict=Verdict.DIFFERS, detail="issued outside of its lane's validity: nobody counts it"
        )
    if lane.revoked_at_s and finding.verdict is not Verdict.COUNTED:
        detail = f"{finding.detail}; its lane was revoked on chain at {lane.revoked_at_s}"
        return replace(finding, detail=detail)
    return finding
