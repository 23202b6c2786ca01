"""One lane and the endpoints of its chain file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from usufruct_protocol.errors import ConfigInvalid
from usufruct_protocol.signing import LocalSigner

from usufruct_meter.chain.payer import Payer
from usufruct_meter.chain.rpc import Endpoint
from usufruct_meter.chain.views import ChainFacts, ChainView, each
from usufruct_meter.clock.reading import ClockReading
from usufruct_meter.lanes.chain_file import CHAIN_FILE_NAME, ChainFile
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.lane_key import read_private_key
from usufruct_meter.lanes.spool_history import contradiction
from usufruct_meter.lanes.spool_reader import SpoolReader


class LaneChain:
    """What one lane asks of the chain, over all endpoints of its chain file."""

    def __init__(self, file: LaneFile, chain_file: ChainFile) -> None:
        self.file = file
        self.settings = chain_file
        self.views = [ChainView(Endpoint(url, file.chain_id), file.settlement) for url in chain_file.rpc_urls]

    @classmethod
    def beside(cls, file: LaneFile) -> Self | None:
        """Return the chain of a lane, or None if there is no chain file. Raises: ConfigInvalid."""
        chain_file = ChainFile.beside(file.path)
        return None if chain_file is None else cls(file, chain_file)

    @classmethod
    def of(cls, file: LaneFile) -> Self:
        """Return the chain of a lane. Raises: ConfigInvalid if there is no chain file."""
        chain = cls.beside(file)
        if chain is None:
            raise ConfigInvalid(
                f"there is no {CHAIN_FILE_NAME} beside {file.path}",
                hint='make one: {"rpc_urls": ["https://…"], "payer_key_file": "payer.key"}, chmod 600',
            )
        return chain

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for view in self.views:
            view.endpoint.close()

    def facts(self) -> list[ChainFacts]:
        """Return what each endpoint that answers says. Raises: ChainUnavailable, ConfigInvalid."""
        return each(self.views, lambda view: view.facts(self.file.lane))

    def clock_readings(self) -> list[ClockReading]:
        """Return what the blocks that each endpoint has shown say about the time."""
        return [view.clock.reading for view in self.views if view.clock.reading is not None]

    def registry(self) -> bytes:
        """Return the LicenseRegistry. Raises: ChainUnavailable, ConfigInvalid."""
        return each(self.views, lambda view: view.neighbors().registry)[0]

    def is_registered(self) -> bool:
        """Whether every endpoint that answers knows the lane. Raises: ChainUnavailable, ConfigInvalid."""
        return all(each(self.views, lambda view: view.lane(self.file.lane) is not None))

    def payer(self, is_stopping: Callable[[], bool] = lambda: False) -> Payer:
        """Return the account that pays for errands. Raises: ConfigInvalid if there is none."""
        path = self.settings.payer_key_file
        if path is None:
            raise ConfigInvalid(
                f"{self.settings.path} names no payer_key_file, so nothing can be anchored",
                hint="usufruct-meter payer new makes one; send it some ether",
            )
        return Payer(
            self.views,
            LocalSigner(read_private_key(path)),
            path.with_name(path.name + ".lock"),
            max_fee_per_gas_gwei=self.settings.max_fee_per_gas_gwei,
            is_stopping=is_stopping,
        )

    def act_at_s(self, due_s: int, merge_delay_s: int) -> int:
        """Return when to anchor what is due at a time: early enough for a chain that is full."""
        after_s = self.settings.anchor_after_s
        wait_s = merge_delay_s // 2 if after_s is None else min(after_s, merge_delay_s)
        return due_s - (merge_delay_s - wait_s)

    def check_not_ahead(self, reader: SpoolReader, facts: Sequence[ChainFacts]) -> None:
        """Hold the spool against what was anchored: the contract takes only what the lane signed.

        Raises: SpoolOutdated.
        """
        for one in facts:
            proof = contradiction(one.anchor, reader, "an anchor") if one.anchor.count else None
            if proof is not None:
                raise proof
