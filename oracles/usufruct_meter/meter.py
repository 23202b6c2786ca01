"""A lane with its shipper: what a gateway holds for as long as it serves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from usufruct_protocol.errors import UsufructError

from usufruct_meter.chain.registration import check_before_signing
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.shipping.shipper import Shipper
from usufruct_meter.signed_receipt import SignedReceipt

if TYPE_CHECKING:
    from usufruct_meter.asgi import AsgiMeter
    from usufruct_meter.wsgi import WsgiMeter

_logger = logging.getLogger(__name__)

ASK_NODES_S: Final = 2.0
SETTLE_S: Final = 3.0


class Meter:
    """An open lane whose receipts are on their way to the nodes.

    app.add_middleware(Meter.asgi, lane="lanes/", routes=["/v1/*"])      # ASGI
    app = Meter.wsgi(app, lane="lanes/", routes=["/v1/*"])               # WSGI
    with Meter.open("lanes/") as meter: meter.meter(units=1)             # anything else
    """

    def __init__(self, lane: Lane, shipper: Shipper) -> None:
        self.lane = lane
        self.shipper = shipper

    @classmethod
    def open(cls, location: LaneFile | Path | str, *, checkpoint_every_s: float = 1.0) -> Self:
        """Open a lane (or the first free one of a folder), ask the nodes about it, and start shipping.

        With a chain file beside the lane file, the lane must be registered as it says, and is kept covered.
        A clock that is ahead refuses calls, but not this: what is durable has to reach the nodes. To know
        before the first call, ask `Lane.check_clock`.
        Raises: as `Lane.open` and `check_before_signing`; SpoolOutdated if a node or an anchor proves that
        the spool has lost receipts.
        """
        lane = Lane.open(location, check=check_before_signing)
        shipper = Shipper(lane, checkpoint_every_s=checkpoint_every_s).start()
        meter = cls(lane, shipper)
        try:
            shipper.ask_nodes(ASK_NODES_S)
            lane.check_usable()
        except BaseException:
            meter.close()
            raise
        return meter

    @staticmethod
    def asgi(app: Any, **options: Any) -> AsgiMeter:
        """Wrap an ASGI app, which then answers no metered call without a receipt: see `AsgiMeter`."""
        from usufruct_meter.asgi import AsgiMeter  # the middleware opens meters itself

        return AsgiMeter(app, **options)

    @staticmethod
    def wsgi(app: Any, **options: Any) -> WsgiMeter:
        """Wrap a WSGI app likewise: see `WsgiMeter`."""
        from usufruct_meter.wsgi import WsgiMeter

        return WsgiMeter(app, **options)

    def meter(
        self,
        units: int,
        usage: Sequence[tuple[bytes, int]] = (),
        request: bytes = b"",
        response_id: str | None = None,
        at_ms: int | None = None,
    ) -> SignedReceipt:
        """Sign the receipt of one call: see `Lane.meter`."""
        return self.lane.meter(units, usage, request, response_id, at_ms)

    def close(self) -> None:
        """Sign a last checkpoint, bring it to the nodes that answer, and give the lane back."""
        try:
            self.shipper.settle(SETTLE_S)
        except UsufructError as error:
            _logger.warning("the last receipts stay in the spool for now: %s", error)
        self.shipper.stop()
        self.lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
