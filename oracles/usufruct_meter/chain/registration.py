"""Before a lane signs: is it registered as its file says, and does the chain know of nothing that it lost?

A lane that signs before it is registered, or past what was registered, can cost the buyer's bond.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack

from usufruct_protocol.terms import LaneRegistration

from usufruct_meter.chain.lane_chain import LaneChain
from usufruct_meter.chain.rpc import ChainUnavailable
from usufruct_meter.chain.views import ChainView, each
from usufruct_meter.errors import NEW_LANE_HINT, LaneNotReady
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader

_logger = logging.getLogger(__name__)


class NotRegistered(LaneNotReady):
    """The chain does not know the lane as its file describes it."""

    code = "lane_not_registered"


def check_before_signing(file: LaneFile, reader: SpoolReader) -> None:
    """Hold a lane and its spool against the chain, if there is a chain file beside the lane file.

    A lane that has signed before goes on when no endpoint answers: it was checked then.
    Raises: NotRegistered, SpoolOutdated, ConfigInvalid; ChainUnavailable for a lane without receipts.
    """
    with ExitStack() as stack:
        chain = LaneChain.beside(file)
        if chain is None:
            return
        stack.enter_context(chain)
        try:
            check_registered(file, chain)
            chain.check_not_ahead(reader, chain.facts())
        except ChainUnavailable as error:
            if not reader.count():
                raise
            _logger.warning("the lane goes on without having been held against the chain: %s", error)


def check_registered(file: LaneFile, chain: LaneChain) -> int:
    """Return the lane's number on chain. Raises: NotRegistered, ChainUnavailable, ConfigInvalid."""
    registered = LaneRegistration(
        file.lane, file.license_id, file.valid_from_ms, file.valid_to_ms, file.unit_cap
    )
    return each(chain.views, lambda view: _check_at(view, file, registered))[0]


def _check_at(view: ChainView, file: LaneFile, expected: LaneRegistration) -> int:
    epoch_seconds = view.neighbors().epoch_seconds
    if epoch_seconds != file.epoch_seconds:
        raise NotRegistered(
            f"the settlement's epochs take {epoch_seconds} s, the lane file says {file.epoch_seconds}",
            hint="correct epoch_seconds in the lane file",
        )
    found = view.lane(file.lane)
    if found is None:
        raise NotRegistered(
            "the lane is not registered on chain",
            hint="the buyer sends registerLane with what usufruct-meter lane show prints",
        )
    if found.revoked_at_s:
        raise NotRegistered(f"the lane was revoked on chain at {found.revoked_at_s}", hint=NEW_LANE_HINT)
    if found.registration != expected:
        differences = ", ".join(_differences(found.registration, expected))
        raise NotRegistered(
            f"the lane is registered otherwise than its file says: {differences}",
            hint="correct the lane file: the chain's terms are what counts",
        )
    return found.number


def _differences(found: LaneRegistration, expected: LaneRegistration) -> Iterator[str]:
    for name in ("license_id", "valid_from", "valid_to", "unit_cap"):
        on_chain, in_file = getattr(found, name), getattr(expected, name)
        if on_chain != in_file:
            yield f"{name} is {on_chain} on chain and {in_file} in the file"
