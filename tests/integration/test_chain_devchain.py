"""The dev chain itself: time, snapshots, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from usufruct_protocol.errors import ConfigInvalid, Incompatible

from scripts import devchain
from scripts.devchain import Anvil, dev_key

ROOT = Path(__file__).resolve().parents[2]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_the_driver_owns_time() -> None:
    with Anvil(timestamp=1_000_000, accounts=2) as chain:
        assert chain.now() == 1_000_000
        chain.mine(3)
        assert chain.now() == 1_000_003
        chain.advance_to(2_000_000)
        assert chain.now() == 2_000_000
        chain.set_next_timestamp(2_000_500)
        chain.mine()
        assert chain.now() == 2_000_500
        with pytest.raises(Incompatible, match="lower than previous block"):
            chain.advance_to(1_999_999)
        time.sleep(1.1)
        chain.mine()
        assert chain.now() == 2_000_501


def test_a_real_time_chain_follows_the_clock() -> None:
    with Anvil(block_time=1) as chain:
        for _ in range(20):
            sent = chain.rpc("anvil_setBalance", chain.addresses[0], hex(10**18))
            assert sent is None
        time.sleep(2.5)
        assert abs(chain.now() - time.time()) < 3
        assert int(chain.rpc("eth_blockNumber"), 16) >= 2


def test_snapshots_return_to_the_state_once() -> None:
    with Anvil(accounts=1) as chain:
        taken = chain.snapshot()
        chain.mine(5)
        chain.revert(taken)
        assert chain.rpc("eth_blockNumber") == "0x0"
        with pytest.raises(ConfigInvalid, match="no snapshot"):
            chain.revert(taken)


def test_accounts_are_funded_and_the_same_every_time() -> None:
    with Anvil(accounts=300, chain_id=4242) as chain:
        assert chain.keys == [dev_key(number) for number in range(300)]
        assert len(set(chain.addresses)) == 300
        balances = [
            int(chain.rpc("eth_getBalance", address, "latest"), 16) for address in chain.addresses[::99]
        ]
        assert balances == [devchain.BALANCE_WEI] * 4
        assert int(chain.rpc("eth_chainId"), 16) == 4242


def test_stopping_leaves_neither_process_nor_files() -> None:
    with Anvil() as chain:
        pid, log = chain.pid, chain.log_path
        assert is_running(pid)
        assert log.exists()
    assert not is_running(pid)
    assert not log.parent.exists()
    chain.stop()
    with pytest.raises(ConfigInvalid, match="not running"):
        _ = chain.pid


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parent")
def test_it_dies_with_a_killed_parent() -> None:
    program = """
import time
from scripts.devchain import Anvil
print(Anvil().start().pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_without_anvil_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devchain, "SHIPPED_ANVIL", tmp_path / "anvil")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigInvalid) as refused:
        Anvil().start()
    assert "make setup" in refused.value.hint
