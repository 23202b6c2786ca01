"""An endpoint between a node and the chain that does what a test wants: lies, fails, serves another chain."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

Bend = Callable[[dict[str, Any], Any], Any]
"""Request object and the chain's result → what is answered instead. Raising OSError answers 503."""


@contextmanager
def bent_endpoint(rpc_url: str, bend: Bend) -> Iterator[str]:
    """URL of an endpoint that hands requests on to a chain and bends the results."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            wanted = json.loads(body)
            kind = {"content-type": "application/json"}
            answers = httpx.post(rpc_url, content=body, headers=kind, timeout=20.0, trust_env=False).json()
            try:
                pairs = zip(
                    *(each if isinstance(each, list) else [each] for each in (wanted, answers)), strict=True
                )
                for request, answer in pairs:
                    if "result" in answer:
                        answer["result"] = bend(request, answer["result"])
                self._answer(200, json.dumps(answers).encode())
            except OSError:
                self._answer(503, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
