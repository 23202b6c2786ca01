"""Kill a forked node with SIGKILL at every step it takes, once each: `install` runs in the node.

A step is seen where it touches something that outlasts the process, so that no step can be added to a node
without being killed at:
- a commit to the database, named by the tables it writes: right before it and right after it;
- a transaction to the chain, named by the function it calls: right before it is sent, and right after the
  endpoint took it but before the node heard of it;
- a question to a peer: before it is asked and after the answer has come;
- an answer to a peer or a meter: when it is ready and not yet sent;
- the cut-off: when it was found and nothing was done about it.

The journal holds one line per step at which the node was killed; a step in it is passed from then on.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import requests.adapters
from starlette.applications import Starlette
from usufruct_chain import artifacts
from usufruct_oracle.chain.client import ChainClient
from usufruct_oracle.peers.client import Peer
from usufruct_protocol.keccak import keccak256

QUESTIONS = ("frozen", "vector", "vote", "batches", "evidence", "roster", "manifest", "file")
CALLED = {"UsageSettlement": ("submit", "finalize"), "RoyaltySplitter": ("payRange",)}
_WRITES = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+(\w+)")
_NAMES_IN_PATH = re.compile(r"/(batches|rosters|frozen|vector|vote|evidence|bundle|hashes)\b")


class Journal:
    """Steps at which this node was killed already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.one_at_a_time = threading.RLock()
        self._passed = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()

    def reach(self, step: str) -> None:
        """Die here, unless this node has died here before."""
        if step in self._passed:
            return
        with self.one_at_a_time, self._path.open("a", encoding="utf-8") as file:
            file.write(step + "\n")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def install(journal: str) -> None:
    """Make this process die at each step that its journal does not hold yet."""
    kept = Journal(Path(journal))
    _watch_commits(kept)
    _watch_transactions(kept)
    for question in QUESTIONS:
        _watch_calls(kept, Peer, question, f"asking for {question}", before=True)
    _watch_calls(kept, ChainClient, "find_cutoff", "finding the cut-off", before=False)
    _watch_answers(kept)


def _watch_commits(journal: Journal) -> None:
    real = sqlite3.connect

    @functools.wraps(real)
    def connect(*arguments: Any, factory: Any = sqlite3.Connection, **options: Any) -> sqlite3.Connection:
        return real(*arguments, factory=_watched(factory, journal), **options)

    sqlite3.connect = connect  # type: ignore[assignment]


@functools.cache
def _watched(factory: Any, journal: Journal) -> Any:
    """Return a kind of connection that knows which tables its open transaction has written."""

    class Watched(factory):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.tables: set[str] = set()

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and self.tables:
                what = f"writing {' '.join(sorted(self.tables))}"
                with journal.one_at_a_time:  # nobody else dies between the two: this happens only once
                    journal.reach(f"before {what}")
                    done = super().execute(sql, *arguments)
                    journal.reach(f"after {what}")
                return done
            self._note(sql)
            return super().execute(sql, *arguments)

        def executemany(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            self._note(sql)
            return super().executemany(sql, *arguments)

        def _note(self, sql: str) -> None:
            if sql.startswith("BEGIN"):
                self.tables.clear()
            elif found := _WRITES.match(sql):
                self.tables.add(found[1])

    return Watched


def _watch_transactions(journal: Journal) -> None:
    functions = {
        keccak256(f"{name}({_types(entry['inputs'])})".encode())[:4].hex(): name
        for contract, names in CALLED.items()
        for entry in artifacts.load(contract).abi
        if (name := entry.get("name")) in names
    }
    send = requests.adapters.HTTPAdapter.send

    @functools.wraps(send)
    def watched(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        body = request.body or b""
        text = body if isinstance(body, str) else body.decode()
        if "eth_sendRawTransaction" not in text:
            return send(self, request, *arguments, **options)
        called = [name for selector, name in functions.items() if selector in text]
        with journal.one_at_a_time:
            journal.reach(f"before sending {' '.join(called)}")
            done = send(self, request, *arguments, **options)
            journal.reach(f"after sending {' '.join(called)}")
        return done

    requests.adapters.HTTPAdapter.send = watched  # type: ignore[method-assign]


def _types(inputs: list[dict[str, Any]]) -> str:
    """Types of a function's arguments as its selector spells them."""
    return ",".join(
        f"({_types(each['components'])}){each['type'].removeprefix('tuple')}"
        if each["type"].startswith("tuple")
        else each["type"]
        for each in inputs
    )


def _watch_calls(journal: Journal, owner: type, name: str, what: str, *, before: bool) -> None:
    """Die before a call, and after one that returned something."""
    call = getattr(owner, name)

    @functools.wraps(call)
    def watched(*arguments: Any, **options: Any) -> Any:
        if before:
            journal.reach(f"before {what}")
        found = call(*arguments, **options)
        if found is not None:
            journal.reach(f"after {what}")
        return found

    setattr(owner, name, watched)


def _watch_answers(journal: Journal) -> None:
    """Die when a good answer to a peer or a meter is ready, before its first byte leaves."""
    call = Starlette.__call__

    @functools.wraps(call)
    async def watched(self: Starlette, scope: Any, receive: Any, send: Any) -> None:
        async def watched_send(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                found = _NAMES_IN_PATH.search(scope["path"])
                if found:
                    journal.reach(f"before answering {scope['method']} {found[1]}")
            await send(message)

        await call(self, scope, receive, watched_send)

    Starlette.__call__ = watched  # type: ignore[method-assign]
