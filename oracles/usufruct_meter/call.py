"""What an app tells the meter while it answers a call.

In ASGI it is `scope["usufruct"]`, in WSGI `environ["usufruct.call"]`.
"""

from __future__ import annotations

from usufruct_protocol.errors import InputRejected
from usufruct_protocol.money import check_uint

from usufruct_meter.lanes.draft import MAX_USAGE_ENTRIES


class Call:
    """One call that is being answered.

    units: what the call takes, if the app knows; None leaves it to the meter's rule. While a stream is sent
           it may grow: each time it says what has been delivered so far.
    """

    __slots__ = ("_usage", "units")

    def __init__(self) -> None:
        self.units: int | None = None
        self._usage: list[tuple[bytes, int]] = []

    @property
    def usage(self) -> tuple[tuple[bytes, int], ...]:
        """The records that the answer used."""
        return tuple(self._usage)

    def use(self, record_tag: bytes, weight: int = 1) -> None:
        """Say that the answer used a record. Of repeats within a call the highest weight counts.

        Raises: InputRejected for a tag that is not 32 bytes, a weight outside 1 … 2³² − 1, or too many.
        """
        if not isinstance(record_tag, bytes) or len(record_tag) != 32:
            raise InputRejected(f"a record tag is 32 bytes, got {record_tag!r:.80}")
        if check_uint(weight, 32, "usage weight") == 0:
            raise InputRejected("weight 0: the record was not used, leave it out")
        if len(self._usage) >= MAX_USAGE_ENTRIES:
            raise InputRejected(f"a call uses at most {MAX_USAGE_ENTRIES} records")
        self._usage.append((record_tag, weight))

    def ran_over(self, records: int, passes: int = 1) -> None:
        """Say that the call trained on so many records, so many times: records × passes units.

        Raises: InputRejected for counts that are no unsigned 64-bit integers.
        """
        self.units = check_uint(records, 64, "records") * check_uint(passes, 64, "passes")
