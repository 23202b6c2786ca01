"""Fixtures of the in-process contract tests: a chain, the library harnesses, a deployed world."""

from __future__ import annotations

import pytest

from tests.contracts.evm.chain import Contract, Evm
from tests.contracts.evm.reserves import Reserve
from tests.contracts.evm.winding_down import AMOUNTS, Ending
from tests.contracts.evm.world import World
from tests.contracts.wire import account


@pytest.fixture
def evm() -> Evm:
    """A fresh chain."""
    return Evm()


@pytest.fixture
def world(evm: Evm) -> World:
    """The whole contract set, deployed and wired, with a USDC-like token and four signers."""
    return World(evm)


@pytest.fixture(scope="module")
def money_math() -> Contract:
    """MoneyMath behind its harness."""
    return Evm().deploy("MoneyMathHarness", sender=account("deployer"))


@pytest.fixture(scope="module")
def note_tree() -> Contract:
    """NoteTree behind its harness."""
    return Evm().deploy("NoteTreeHarness", sender=account("deployer"))


@pytest.fixture(scope="module")
def report_hash() -> Contract:
    """ReportHash behind its harness."""
    return Evm().deploy("ReportHashHarness", sender=account("deployer"))


@pytest.fixture(scope="module")
def shared_world() -> World:
    """A world for tests that only read."""
    return World(Evm())


@pytest.fixture
def ending() -> Ending:
    """A world whose committee could vanish now: one report is final, and carries a reserve."""
    return Ending.of(Reserve(AMOUNTS))


@pytest.fixture
def closed(ending: Ending) -> Ending:
    """The committee has vanished, and somebody has closed the settlement."""
    ending.vanish()
    return ending
