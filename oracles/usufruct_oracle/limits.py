"""How much one sender and one lane may ask of a node: token buckets, kept in bounded memory.

A sender (an address, or the /64 of an IPv6 one) pays for every request, more for large answers and much more
for input that was refused, so that useless traffic is stopped before its body is read. A lane pays only for
batches of its own that brought something new: nobody else can use up its share.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from usufruct_protocol.errors import Transient

_MAX_KEYS: Final = 16_384
REQUEST_COST: Final = 1.0
REFUSED_COST: Final = 20.0
SENT_BYTES_PER_TOKEN: Final = 65_536
ANSWERED_BYTES_PER_TOKEN: Final = 16_384


class TooMany(Transient):
    """The sender or the lane is over its share for now."""

    code = "too_many_requests"

    def __init__(self, who: str, limit: str, retry_after_s: int) -> None:
        super().__init__(f"{who} is over its share for now", hint=f"come again in {retry_after_s} s")
        self.limit = limit
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens that come back per second, and how many can be saved up."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Shares:
    """What one sender and one lane may have. A meter ships one batch per second and lane, with all it has."""

    of_sender: Rate = Rate(500, 2_000)
    of_lane: Rate = Rate(50, 3_000)
    trusted_proxies: tuple[str, ...] = ()

    @classmethod
    def per_second(cls, requests: int, lane_batches: int, trusted_proxies: tuple[str, ...]) -> Shares:
        """Return shares of which a sender may save up four seconds, and a lane, after an outage, a minute."""
        return cls(Rate(requests, 4 * requests), Rate(lane_batches, 60 * lane_batches), trusted_proxies)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class Buckets:
    """One bucket per key; whoever has a whole token may go on. Costs show afterwards, so debt is possible,
    down to one burst below zero.

    Of very many keys the ones longest unused are forgotten, which gives them a full bucket again. Used from
    one thread.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = _MAX_KEYS,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait_s(self, key: Hashable) -> int:
        """Return whole seconds until the key may go on; 0 if it may now."""
        missing = 1 - self._refilled(key).tokens
        return 0 if missing <= 0 else max(1, math.ceil(missing / self._rate.per_second))

    def pay(self, key: Hashable, cost: float) -> None:
        """Take tokens from a key's bucket."""
        bucket = self._refilled(key)
        bucket.tokens = max(bucket.tokens - cost, -self._rate.burst)

    def _refilled(self, key: Hashable) -> _Bucket:
        now_s = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._rate.burst, now_s)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            gained = (now_s - bucket.at_s) * self._rate.per_second
            bucket.tokens, bucket.at_s = min(bucket.tokens + gained, self._rate.burst), now_s
        return bucket


def sender_of(host: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the network of an IPv6 one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return host
