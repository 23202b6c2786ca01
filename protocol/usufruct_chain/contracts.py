"""The contracts of one deployment: web3 objects to send to, views to read from."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from eth_typing import ChecksumAddress
from usufruct_protocol.errors import ConfigInvalid
from web3 import Web3
from web3.contract import Contract

from usufruct_chain import artifacts
from usufruct_chain.deployment import Deployment
from usufruct_chain.views import Views


class Contracts:
    """The contracts of one deployment. Creating it reads nothing; `open_contracts` also checks them.

    `registry.functions.accept(...)` and the like are what `Sender.send` takes; `views` is for `Reader.query`.
    """

    def __init__(self, w3: Web3, deployment: Deployment) -> None:
        self.w3 = w3
        self.deployment = deployment

    @cached_property
    def views(self) -> ContractViews:
        return ContractViews(self.deployment)

    def __getattr__(self, place: str) -> Contract:
        """The contract at a place of artifacts.PLACES. Raises: ConfigInvalid if there is none."""
        address = ChecksumAddress(_address(self.deployment, place))  # type: ignore[arg-type]
        found = self.w3.eth.contract(address=address, abi=artifacts.of_place(_NAMES[place]).abi)
        setattr(self, place, found)
        return found


class ContractViews:
    """View functions of every contract of a deployment: `views.splitter.pool()` is a ViewCall."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def __getattr__(self, place: str) -> Views:
        """The views of the contract at a place. Raises: ConfigInvalid if there is none."""
        found = Views(_address(self._deployment, place), artifacts.of_place(_NAMES[place]).abi)
        setattr(self, place, found)
        return found


_NAMES: Final = {place: name for name, place in artifacts.PLACES.items()}


def _address(deployment: Deployment, place: str) -> str:
    if place not in _NAMES:
        raise AttributeError(f"a deployment has no {place}")
    address: str = getattr(deployment, place)
    if not address:
        raise ConfigInvalid(f"the deployment file names no {place}", hint="it is one of an older version")
    return address
