"""What every test shares: where recorded data lies, no network in unit tests, hypothesis profiles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from hypothesis import HealthCheck, configuration, settings

ROOT = Path(__file__).resolve().parent.parent
UNIT_TESTS = ROOT / "tests" / "unit"
NO_SHARED_DATA = "no recorded data at "

configuration.set_hypothesis_home_dir(ROOT / ".cache" / "hypothesis")
# No deadlines: the machines that run this are shared, and a slow example is not a wrong one.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "nightly", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# Thousands of runs, each against one fault: `python -m toolchain.mutation`.
settings.register_profile("mutation", max_examples=20, deadline=None, derandomize=True, print_blob=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Unit tests open no sockets; event loops keep the Unix ones they are woken by."""
    if not request.path.is_relative_to(UNIT_TESTS):
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of recorded data that is read in place and never committed.

    USUFRUCT_SHARED names its parent; by default that is `shared`, next to the repository. Without it the
    tests that need it are skipped, and the summary at the end says so.
    """
    shared = Path(os.environ.get("USUFRUCT_SHARED") or ROOT.parent / "shared")
    data = shared / "data"
    if not data.is_dir():
        pytest.skip(f"{NO_SHARED_DATA}{data}: set USUFRUCT_SHARED to the folder that holds data/")
    return data


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _lacks_data(report)]
    if skipped:
        terminalreporter.section("recorded data is missing", yellow=True, bold=True)
        terminalreporter.write_line(
            f"{len(skipped)} tests against published figures did NOT run: {skipped[0].longrepr[2]}"
        )


def _lacks_data(report: pytest.TestReport) -> bool:
    """Whether a skipped test named the missing data as its reason; it may have run in another process."""
    return isinstance(report.longrepr, tuple) and NO_SHARED_DATA in report.longrepr[2]
