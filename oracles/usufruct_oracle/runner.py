"""A node at work: the HTTP server in the main thread, the epoch loop in one more, an orderly end for both."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Final

import uvicorn
from usufruct_protocol.errors import ConfigInvalid, InvariantBroken, Transient, UsufructError

from usufruct_oracle.bootstrap import Node
from usufruct_oracle.epoch import EpochLoop
from usufruct_oracle.status import NodeStatus

_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 10.0
_MAX_REQUESTS: Final = 512


class LoopThread(threading.Thread):
    """Calls the epoch loop over and over until asked to stop, or until an invariant breaks."""

    def __init__(self, loop: EpochLoop, status: NodeStatus, poll_seconds: float) -> None:
        super().__init__(name="epochs", daemon=True)
        self._loop = loop
        self._status = status
        self._poll_seconds = poll_seconds
        self._stop_asked = threading.Event()

    def stop(self) -> None:
        """Ask the loop to end after the step it is in, and wait for it a while."""
        self._stop_asked.set()
        self.join(_STOP_TIMEOUT_S)

    def run(self) -> None:
        """Tick, and turn what fails into a pause or a halt. The only broad catch of a node."""
        failures = 0
        while not self._stop_asked.is_set():
            try:
                self._loop.tick()
                failures = 0
            except InvariantBroken as error:
                _log.critical("HALTED: %s (%s)", error, error.hint or "see the runbook", exc_info=True)
                self._status.halt(str(error))
                return
            except Transient as error:
                failures += 1
                _log.info("waiting: %s", error)
                self._status.in_trouble(str(error))
            except UsufructError as error:
                failures += 1
                _log.error("%s: %s", error.code, error)
                self._status.in_trouble(str(error))
            except Exception as error:  # noqa: BLE001  the entry point of this thread
                failures += 1
                _log.exception("unexpected error in the epoch loop")
                self._status.in_trouble(f"{type(error).__name__}: {error}")
            pause_s = min(
                self._poll_seconds * 2 ** min(failures, 16), max(_LONGEST_PAUSE_S, self._poll_seconds)
            )
            self._stop_asked.wait(pause_s)


def run(node: Node) -> None:
    """Serve until SIGTERM or SIGINT; everything acknowledged is on disk when this returns."""
    config = uvicorn.Config(
        node.app,
        host=node.settings.host,
        port=node.settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
        limit_concurrency=_MAX_REQUESTS,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    # The server takes these signals while it runs and raises them once more when it is done; by then there is
    # still a loop to stop and a store to close.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    loop = LoopThread(node.loop, node.status, node.settings.poll_seconds)
    loop.start()
    try:
        server.run()
    except SystemExit as error:
        # uvicorn has logged why, usually a taken port.
        where = f"{node.settings.host}:{node.settings.port}"
        raise ConfigInvalid(f"cannot serve on {where}", hint="is the port taken?") from error
    finally:
        loop.stop()
        node.close()
