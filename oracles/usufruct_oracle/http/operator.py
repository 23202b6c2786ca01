"""What a node tells its operator, on a listener of its own that the outside never reaches.

It runs in a thread and an event loop of its own, so that it answers while the public side is flooded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import uvicorn
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from usufruct_protocol.errors import ConfigInvalid, UsufructError

from usufruct_oracle.http.connections import Connections, server_settings
from usufruct_oracle.http.health import Health
from usufruct_oracle.http.problems import on_bug, on_usufruct_error
from usufruct_oracle.metrics import Metrics

_log = logging.getLogger(__name__)
_MAX_OPEN: Final = 32
_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 5.0


def operator_app(
    metrics: Metrics, health: Health, status: Callable[[Request], Response] | None = None
) -> Starlette:
    """Return the application: /metrics for Prometheus, /health and /ready for what starts and stops nodes.

    status: answers /v1/status, for the operator's command
    """

    def scrape(_request: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return Starlette(
        routes=[
            Route("/metrics", scrape),
            Route("/health", health.health),
            Route("/ready", health.ready),
            *([] if status is None else [Route("/v1/status", status)]),
        ],
        exception_handlers={UsufructError: on_usufruct_error, Exception: on_bug},
    )


class OperatorServer:
    """Serves the operator's application until closed."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        connections = Connections(Metrics(), _MAX_OPEN)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            **server_settings(connections, ()),
        )
        self._server = uvicorn.Server(config)
        self._where = f"{host}:{port}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator-http", daemon=True)

    def start(self) -> None:
        """Begin to serve. Raises: ConfigInvalid if the address cannot be had."""
        self._thread.start()
        for _ in range(int(_START_TIMEOUT_S / 0.02)):
            if self._server.started:
                _log.info("metrics on http://%s/metrics", self._where)
                return
            if self._ended.wait(0.02):
                break
        raise ConfigInvalid(f"cannot serve metrics on {self._where}", hint="is metrics_port taken?")

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:
            pass  # uvicorn has logged why
        finally:
            self._ended.set()
