"""The process that nodes are forked from: it has imported everything once, so a node starts in an instant.

A forked node is a process of its own that runs the real command from its first line on; a signal to it hits
nothing else. Before it does, it may make something fail on purpose: `setup` names modules of the tests whose
`install(**arguments)` is called in it.

Reads one JSON object per line, answers each with one:
    {"start": {"config", "log", "setup": {module: arguments}}}  ->  {"pid": …}
    {"poll": pid}                                               ->  {"code": … or null}
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any

from tests.integration import node_clock

node_clock.take_over()  # before anything remembers the real one

import usufruct_oracle.cli  # noqa: E402

from scripts.network import die_with_parent  # noqa: E402


def main() -> None:
    """Serve until standard input ends, or become a node."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                become_node(request["start"])
                return
            answer: dict[str, Any] = {"pid": pid}
        else:
            answer = {"code": exit_code(request["poll"])}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def exit_code(pid: int) -> int | None:
    """Exit code of a child as `subprocess` gives it, or None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def become_node(start: dict[str, Any]) -> None:
    """Run `usufruct-oracle run` in this process until it exits."""
    tie_to_nursery()
    with open(os.devnull, "rb") as nothing, open(start["log"], "ab") as log:
        for stream, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(stream.fileno(), target)
    for module, arguments in start["setup"].items():
        importlib.import_module(module).install(**arguments)
    sys.argv = ["usufruct-oracle", "run", "--config", start["config"]]
    usufruct_oracle.cli.main()


def tie_to_nursery() -> None:
    """Die with the nursery, and not of the Ctrl-C that is meant for the tests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if TIE is not None:
        TIE()


TIE = die_with_parent(os.getpid())

if __name__ == "__main__":
    main()
