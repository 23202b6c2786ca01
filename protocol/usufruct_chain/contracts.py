"""The contracts of one deployment: web3 objects to send to, views to read from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from eth_typing import ChecksumAddress
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
    def token(self) -> Contract:
        return self._contract(self.deployment.token, artifacts.load_test(artifacts.TEST_TOKEN).abi)

    @cached_property
    def access_manager(self) -> Contract:
        return self._contract(self.deployment.access_manager, artifacts.load("AccessManager").abi)

    @cached_property
    def registry(self) -> Contract:
        return self._contract(self.deployment.registry, artifacts.load("LicenseRegistry").abi)

    @cached_property
    def committee(self) -> Contract:
        return self._contract(self.deployment.committee, artifacts.load("OracleCommittee").abi)

    @cached_property
    def escrow(self) -> Contract:
        return self._contract(self.deployment.escrow, artifacts.load("RoyaltyEscrow").abi)

    @cached_property
    def splitter(self) -> Contract:
        return self._contract(self.deployment.splitter, artifacts.load("RoyaltySplitter").abi)

    @cached_property
    def settlement(self) -> Contract:
        return self._contract(self.deployment.settlement, artifacts.load("UsageSettlement").abi)

    @cached_property
    def views(self) -> ContractViews:
        return ContractViews(self.deployment)

    def _contract(self, address: str, abi: list[dict[str, Any]]) -> Contract:
        return self.w3.eth.contract(address=ChecksumAddress(address), abi=abi)  # type: ignore[arg-type]


class ContractViews:
    """View functions of every contract of a deployment: `views.splitter.pool()` is a ViewCall."""

    def __init__(self, deployment: Deployment) -> None:
        self.token = Views(deployment.token, artifacts.load_test(artifacts.TEST_TOKEN).abi)
        self.access_manager = Views(deployment.access_manager, artifacts.load("AccessManager").abi)
        self.registry = Views(deployment.registry, artifacts.load("LicenseRegistry").abi)
        self.committee = Views(deployment.committee, artifacts.load("OracleCommittee").abi)
        self.escrow = Views(deployment.escrow, artifacts.load("RoyaltyEscrow").abi)
        self.splitter = Views(deployment.splitter, artifacts.load("RoyaltySplitter").abi)
        self.settlement = Views(deployment.settlement, artifacts.load("UsageSettlement").abi)
