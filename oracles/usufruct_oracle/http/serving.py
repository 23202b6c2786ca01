"""How a node serves: the `serving` of node.json."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from usufruct_protocol.errors import InputRejected

from usufruct_oracle.limits import Shares

_RANGES: Final = {
    "metrics_port": (1, 65_535),
    "max_connections": (16, 65_535),
    "requests_per_second": (1, 1_000_000),
    "lane_batches_per_second": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Serving:
    """What the outside and the operator get.

    metrics_host, metrics_port: where /metrics, /health and /ready are served to the operator alone; a port of
                                None is nowhere
    max_connections:            open at once; who holds the most makes room for a new one
    requests_per_second:        the share of one sender, who may save up four seconds of it
    lane_batches_per_second:    the share of one lane, which may save up a minute of it
    trusted_proxies:            IP addresses whose X-Forwarded-For names the sender; loopback always counts
    """

    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    max_connections: int = 512
    requests_per_second: int = 500
    lane_batches_per_second: int = 50
    trusted_proxies: tuple[str, ...] = ()

    @property
    def shares(self) -> Shares:
        """What one sender and one lane may have."""
        return Shares.per_second(self.requests_per_second, self.lane_batches_per_second, self.trusted_proxies)

    @classmethod
    def from_json(cls, value: Any) -> Serving:
        """Return what a settings file says; what it leaves out is the default.

        Raises: InputRejected naming what is wrong.
        """
        if not isinstance(value, Mapping):
            raise InputRejected("serving must be an object")
        known = [each.name for each in fields(cls)]
        unknown = sorted(value.keys() - set(known))
        if unknown:
            raise InputRejected(f"serving: unknown {unknown[0]!r}", hint=f"there are {', '.join(known)}")
        for name, (low, high) in _RANGES.items():
            number = value.get(name, low)
            if number is None and name == "metrics_port":
                continue
            if type(number) is not int or not low <= number <= high:
                raise InputRejected(f"serving: {name} must be a whole number from {low} to {high}")
        host = value.get("metrics_host", cls().metrics_host)
        proxies = value.get("trusted_proxies", [])
        if not isinstance(proxies, list):
            raise InputRejected("serving: trusted_proxies must be an array of IP addresses")
        for address in (host, *proxies):
            _check_address(address)
        return cls(**{**value, "trusted_proxies": tuple(proxies)})


def _check_address(value: Any) -> None:
    """Refuse what is no IP address: a name would be looked up at every start, by whoever answers."""
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError as error:
        raise InputRejected(f"serving: {value!r} is no IP address") from error
