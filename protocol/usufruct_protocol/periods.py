"""When an epoch ends, who proposes, and how many must agree: small rules every node computes alike.

Times are seconds of chain time; no node's clock takes part.
Source: docs/spec.md, agreement.
"""

from __future__ import annotations

from usufruct_protocol.errors import InputRejected


def period_end_s(genesis_s: int, epoch_seconds: int, epoch: int) -> int:
    """Return when an epoch's period ends. Epochs count from 1; epoch 0 ended at genesis."""
    if epoch_seconds <= 0 or epoch < 0:
        raise InputRejected(f"need epoch_seconds > 0 and epoch >= 0, got {epoch_seconds}, {epoch}")
    return genesis_s + epoch * epoch_seconds


def epoch_of_ms(genesis_s: int, epoch_seconds: int, at_ms: int) -> int:
    """Return the epoch whose period holds a time in milliseconds: [end of the previous, own end)."""
    if epoch_seconds <= 0 or at_ms < genesis_s * 1000:
        raise InputRejected(f"{at_ms} ms lies before the first period, which begins at {genesis_s} s")
    return (at_ms - genesis_s * 1000) // (epoch_seconds * 1000) + 1


def proposer_index(epoch: int, attempt: int, signer_count: int) -> int:
    """Return which signer proposes the lane vector of an (epoch, attempt)."""
    return (epoch + attempt) % signer_count


def fault_bound(signer_count: int) -> int:
    """Return f, how many signers may lie or be dead: ⌊(n − 1) / 3⌋."""
    if signer_count < 4:
        raise InputRejected(f"a committee needs at least 4 signers, got {signer_count}")
    return (signer_count - 1) // 3


def quorum(signer_count: int) -> int:
    """Return k, how many must sign: ⌊(n + f) / 2⌋ + 1, so any two quorums share an honest signer."""
    return (signer_count + fault_bound(signer_count)) // 2 + 1


def attempt_at(now_s: int, cutoff_time_s: int, attempt_seconds: int, first_attempt: int) -> int:
    """Return the attempt that is on at a chain time: one more every `attempt_seconds` after the cut-off."""
    if attempt_seconds <= 0:
        raise InputRejected(f"attempt_seconds must be positive, got {attempt_seconds}")
    return first_attempt + max(0, now_s - cutoff_time_s) // attempt_seconds
