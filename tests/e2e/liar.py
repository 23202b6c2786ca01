"""A signer's node that lies, in every way it can think of, with a valid key and on the right port."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import httpx
from usufruct_protocol.eip712 import typed_digest
from usufruct_protocol.signing import sign_digest

KINDS = ("frozen", "vector", "vote")
GARBAGE = (b"", b"{", b"[]", b"null", b"\xff" * 4096, b'{"epoch": 1e999}', b"0" * 100_000)


class Liar:
    """Serves lies on a port; `told` counts them by kind of question.

    honest_url: a node it copies from when a lie needs to look right
    lanes:      addresses it claims to hold a million receipts of
    """

    def __init__(self, port: int, key: bytes, index: int, domain: bytes, honest_url: str) -> None:
        self.key = key
        self.index = index
        self.domain = domain
        self.lanes: list[bytes] = []
        self.told: Counter[str] = Counter()
        self._honest = httpx.Client(base_url=honest_url, timeout=5.0, trust_env=False)
        self._turn = itertools.count()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._honest.close()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return a lie that fits the question, or garbage every third time."""
        turn = next(self._turn)
        kind = path.split("?")[0].rsplit("/", 1)[-1]
        self.told[kind] += 1
        if turn % 3 == 0:
            return 200, GARBAGE[turn // 3 % len(GARBAGE)]
        if turn % 17 == 1 and all(self.told[one] for one in KINDS):
            # Longer than anyone should wait. Whoever gave up asks nothing for a moment, so this comes last.
            time.sleep(2.0)
        if kind == "frozen":
            return 200, self._frozen(path)
        if kind == "vector":
            return self._vector(path)
        if kind == "vote":
            return self._vote(path, turn)
        return (200, b"\x00\x00\x00\x08UFB1lies") if turn % 2 else (500, b"sorry")

    def _frozen(self, path: str) -> bytes:
        """Heads nobody ever signed, and conflicts nobody can show."""
        honest = self._honest.get(path)
        if honest.status_code != 200:
            return b"{}"
        content = honest.json()
        for head in content["lanes"]:
            head.update(count=1_000_000, cumulative_units="999999999", receipts_root="0x" + "ab" * 32)
        content["conflicts"] = [{"lane": "0x" + lane.hex(), "seq": 0} for lane in self.lanes]
        return json.dumps(content).encode()

    def _vector(self, path: str) -> tuple[int, bytes]:
        """A vector without the last lane's receipts."""
        epoch, attempt = int(path.split("/")[3]), int(path.split("/")[5])
        frozen = self._honest.get(f"/v1/epochs/{epoch}/frozen")
        if frozen.status_code != 200:
            return 404, b"{}"
        heads = {head["lane"]: head for head in frozen.json()["lanes"]}
        content = {
            "epoch": epoch,
            "attempt": attempt,
            "cutoff_block_hash": frozen.json()["cutoff_block_hash"],
            "lanes": [*(heads.get("0x" + lane.hex()) for lane in self.lanes[:-1]), None],
            "withheld": [],
            "adopted": [],
        }
        return 200, json.dumps(content).encode()

    def _vote(self, path: str, turn: int) -> tuple[int, bytes]:
        """The honest bundle with another report, in another name, or with a signature over something else."""
        honest = self._honest.get(path)
        if honest.status_code != 200:
            return 404, b"{}"
        vote = {**honest.json(), "signer_index": self.index}
        lie = turn % 4
        if lie == 0:
            vote["report_hash"] = "0x" + "cd" * 32
        elif lie == 1:
            vote["signer_index"] = (self.index + 1) % 4
        else:
            signature = sign_digest(self.key, typed_digest(self.domain, b"\x01" * 32))
            vote["signature"] = "0x" + signature.hex()
        return 200, json.dumps(vote).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        liar, drips = self, itertools.count()

        class Handler(BaseHTTPRequestHandler):
            def _drip(self) -> None:
                """One byte of a header after another: each in time, and never an end."""
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Patience: ")
                for _ in range(200):
                    self.wfile.write(b"a")
                    time.sleep(0.1)

            def do_GET(self) -> None:
                # Whoever asked has given up on a slow lie, or whom it copies from has nothing to say.
                with suppress(ConnectionError, httpx.HTTPError, ValueError, LookupError, RuntimeError):
                    status, body = liar.answer(self.path)
                    if next(drips) % 19 == 7:
                        self._drip()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        return Handler
