"""The node's own sender: bound to its chain, its transactions on disk, its doings counted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from usufruct_chain.outstanding import Journal
from usufruct_chain.sender import Sender
from usufruct_protocol.signing import Signer
from web3 import Web3

from usufruct_oracle.metrics import Metrics

_KINDS: Final = {
    "submit": "submit",
    "finalize": "finalize",
    "issueReserve": "issue_reserve",
    "payRange": "pay_range",
    "answerHead": "answer",
    "answerHeadByContradiction": "answer",
    "answerUnits": "answer",
}


def open_sender(w3: Web3, signer: Signer, chain_id: int, journal: Path, metrics: Metrics) -> Sender:
    """Return the sender of a node's account; close it in the end.

    Raises: ConfigInvalid if another process sends with this journal, or it is damaged.
    """

    def count(function: str, outcome: str, fee_wei: int) -> None:
        kind = _KINDS.get(function, "other")
        metrics.transactions.labels(kind, outcome).inc()
        if fee_wei:
            metrics.transaction_fees.labels(kind).inc(fee_wei)

    for kind in {*_KINDS.values(), "other"}:
        metrics.transactions.labels(kind, "reverted")  # shown from the start: an alert watches its increase
    sender = Sender(w3, signer, chain_id=chain_id, journal=Journal(journal), observer=count)
    metrics.oldest_pending_at.set_function(lambda: sender.pending_since or 0.0)
    return sender
