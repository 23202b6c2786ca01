"""A node at work: the HTTP server in the main thread, the epoch loop in one more, an orderly end for both."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Final

import uvicorn
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken, Transient, UsufructError

from usufruct_oracle.bootstrap import Node
from usufruct_oracle.chain.gas_watch import GasWatch
from usufruct_oracle.epoch_loop import EpochLoop
from usufruct_oracle.http.connections import Connections, server_settings
from usufruct_oracle.http.operator import OperatorServer
from usufruct_oracle.metrics import Metrics
from usufruct_oracle.status import NodeStatus

_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 10.0
DONE, WAITING, FAILED, UNEXPECTED, HALTED = "done", "waiting", "failed", "unexpected", "halted"


class LoopThread(threading.Thread):
    """Calls the epoch loop over and over until asked to stop, or until an invariant breaks."""

    def __init__(
        self,
        loop: EpochLoop,
        status: NodeStatus,
        metrics: Metrics,
        poll_seconds: float,
        gas: GasWatch | None = None,
    ) -> None:
        super().__init__(name="epochs", daemon=True)
        self._metrics = metrics
        self._gas = gas
        self._loop = loop
        self._status = status
        self._poll_seconds = poll_seconds
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Ask the loop to end after the step it is in, and wait for it a while."""
        self._stop_asked.set()
        self.join(_STOP_TIMEOUT_S)

    def run(self) -> None:
        """Tick, and turn what fails into a pause or a halt."""
        failures = 0
        while not self._stop_asked.is_set():
            started = time.monotonic()
            outcome = self._look()
            self._metrics.look_seconds.observe(time.monotonic() - started)
            self._metrics.looks.labels(outcome).inc()
            if outcome == HALTED:
                return
            failures = 0 if outcome == DONE else failures + 1
            pause_s = min(
                self._poll_seconds * 2 ** min(failures, 16), max(_LONGEST_PAUSE_S, self._poll_seconds)
            )
            self._stop_asked.wait(pause_s)

    def _look(self) -> str:
        """Tick once; return how it went."""
        try:
            self._loop.tick()
            if self._gas is not None:
                self._gas.look()
        except InvariantBroken as error:
            _log.critical("HALTED: %s (%s)", error, error.hint or "runbook#halted", exc_info=True)
            self._status.halt(str(error))
            return HALTED
        except Transient as error:
            _log.info("waiting: %s", error)
            self._status.in_trouble(str(error))
            return WAITING
        except UsufructError as error:
            _log.error("%s: %s", error.code, error, extra={"code": error.code, "hint": error.hint})
            self._status.in_trouble(str(error))
            return FAILED
        except Exception as error:  # noqa: BLE001  the entry point of this thread
            _log.exception("unexpected error in the epoch loop")
            self._status.in_trouble(f"{type(error).__name__}: {error}")
            return UNEXPECTED
        return DONE


def run(node: Node) -> None:
    """Serve until SIGTERM or SIGINT; everything acknowledged is on disk when this returns."""
    settings = node.settings
    serving = settings.serving
    connections = Connections(node.metrics, serving.max_connections, serving.trusted_proxies)
    config = uvicorn.Config(
        node.app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        lifespan="off",
        **server_settings(connections, serving.trusted_proxies),
    )
    server = uvicorn.Server(config)
    # The server takes these signals while it runs and raises them once more when it is done; by then there is
    # still a loop to stop and a store to close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    loop = LoopThread(node.loop, node.status, node.metrics, settings.poll_seconds, node.gas)
    operator = _operator_server(node)
    loop.start()
    _log.info("node on http://%s:%d", settings.host, settings.port)
    try:
        server.run()
    except SystemExit as error:
        # uvicorn has logged why, usually a taken port.
        where = f"{settings.host}:{settings.port}"
        raise ConfigInvalid(f"cannot serve on {where}", hint="is the port taken?") from error
    finally:
        loop.stop()
        if operator is not None:
            operator.close()
        node.close()


def _operator_server(node: Node) -> OperatorServer | None:
    """Serve metrics if a port was set for them. Raises: ConfigInvalid."""
    serving = node.settings.serving
    if serving.metrics_port is None:
        return None
    server = OperatorServer(node.operator, serving.metrics_host, serving.metrics_port)
    try:
        server.start()
    except ConfigInvalid:
        node.close()
        raise
    return server
