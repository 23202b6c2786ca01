"""ClickHouse's HTTP interface in front of the embedded engine: `python -m tests.scale.clickhouse_front PORT`.

No package registry has a current server, so the path over a URL is tested against the same engine in another
process: real HTTP, real SQL, real MergeTree tables; only this hand-over of queries is ours.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

DATABASE = "archive"
USER, PASSWORD = "operator", "correct horse"


class Front(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    protocol_version = "HTTP/1.1"
    engine: Any

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n")

    def do_POST(self) -> None:
        body = self._body()
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if not self._is_allowed():
            self._answer(403, b"Code: 516. DB::Exception: Authentication failed", code="516")
            return
        try:
            self._answer(200, self._run(given, body))
        except ClickHouseError as error:
            text = str(error)
            self._answer(500, text.encode(), code="60" if "UNKNOWN_TABLE" in text else "1000")

    def _run(self, given: dict[str, str], body: bytes) -> bytes:
        query = given.get("query")
        if query is not None and body:
            table = query.split()[2].strip("`")
            self.engine.raw_insert(table, insert_block=body, fmt="Parquet")
            return b""
        query = query or body.decode()
        for name, value in given.items():
            if name.startswith("param_"):
                self.engine.command(f"SET {name} = '{value}'")
        fmt = given.get("default_format")
        if query.lstrip().startswith(("CREATE", "ALTER", "SET")):
            self.engine.command(query)
            return b""
        if "FORMAT " in query:
            query, _, fmt = query.rpartition("FORMAT ")
        answer: bytes = self.engine.raw_query(query, fmt=(fmt or "TabSeparated").strip())
        return answer

    def _is_allowed(self) -> bool:
        from base64 import b64encode

        expected = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.headers.get("Authorization") == expected

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    Front.engine = clickhouse_connect.get_client(interface="chdb")
    Front.engine.command(f"CREATE DATABASE {DATABASE}")
    Front.engine.command(f"USE {DATABASE}")
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Front).serve_forever()


if __name__ == "__main__":
    main()
