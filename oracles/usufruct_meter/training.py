"""Metering fine-tune and training runs: one unit per record and pass.

    run = TrainingRun(meter.lane, "run-7", records=tags)      # or records=120_000, where tags are not told
    for number in range(1, passes + 1):
        train_one_pass()
        run.pass_done(number)                                 # durable before it returns

A pass is metered when it is done, once, however often a restarted run reports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from usufruct_protocol.errors import Conflict, InputRejected
from usufruct_protocol.money import check_uint

from usufruct_meter.lanes.draft import MAX_USAGE_ENTRIES
from usufruct_meter.lanes.lane import Lane
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt

_COUNT_BITS: Final = 48


class TrainingRun:
    """One run over a fixed set of records.

    run_id:  unique per license for ever; the same one after a restart
    records: the tags of the records, which receipts then commit to; or only how many there are
    """

    def __init__(self, lane: Lane, run_id: str, records: Sequence[bytes] | int) -> None:
        if not run_id:
            raise InputRejected(
                "run_id is empty", hint="name the run, so that its restart is not metered again"
            )
        self._lane = lane
        self._run_id = run_id
        self._records = records
        self.record_count = records if isinstance(records, int) else len(records)
        if check_uint(self.record_count, _COUNT_BITS, "records") == 0:
            raise InputRejected("a run over no records is no use")

    def pass_done(self, number: int) -> list[SignedReceipt]:
        """Sign for pass `number`, counted from 1; the receipts of then if it was signed for before.

        Raises: Conflict if that pass was metered over another number of records; else as `Lane.meter_many`.
        """
        if check_uint(number, 32, "pass number") == 0:
            raise InputRejected("passes are counted from 1")
        signed = self._lane.meter_many(self._calls(number))
        metered = sum(one.receipt.units for one in signed)
        if metered != self.record_count:
            raise Conflict(
                f"pass {number} of run {self._run_id!r} was metered over {metered} records, not "
                f"{self.record_count}",
                hint="another set of records is another run: give it another run_id",
            )
        return signed

    def _calls(self, number: int) -> list[MeteredCall]:
        """Return the pass in as many calls as its usage lists need."""
        request = f"training\n{self._run_id}\n{number}".encode("utf-8", "surrogatepass")
        if isinstance(self._records, int):
            return [MeteredCall(self._records, (), request, self._response_id(number, 0))]
        return [
            MeteredCall(len(tags), [(tag, 1) for tag in tags], request, self._response_id(number, part))
            for part, tags in enumerate(_in_parts(self._records))
        ]

    def _response_id(self, number: int, part: int) -> str:
        return f"training:{self._run_id}:{number}:{part}"


def _in_parts(tags: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [tags[at : at + MAX_USAGE_ENTRIES] for at in range(0, len(tags), MAX_USAGE_ENTRIES)]
