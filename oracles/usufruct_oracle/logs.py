"""Log lines: one JSON object each for machines, or plain text for a terminal; never with a secret in them.

Modules log with `logging.getLogger(__name__)` and name what belongs to an event in `extra={...}`; bytes
become 0x-hex. Secrets that the settings hold are replaced wherever they turn up, tracebacks and messages of
libraries included. Times are UTC.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TextIO
from urllib.parse import unquote, urlsplit

_MASK: Final = "***"
_MIN_SECRET: Final = 4
_MIN_KEY: Final = 12
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OWN_FIELDS: Final = frozenset({"time", "level", "logger", "event", "error", "traceback"})


class LogFormat(StrEnum):
    """How a line looks."""

    JSON = "json"
    TEXT = "text"


class Redactor:
    """Replaces known secrets in a text. Texts shorter than 4 characters are no secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        found = sorted({text for text in secrets if len(text) >= _MIN_SECRET}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(_MASK, text)

    def __repr__(self) -> str:
        return "Redactor(…)"


def secrets_of(settings: object) -> list[str]:
    """Return what must not be shown of any URL in a dataclass of settings, wherever it stands there."""
    found: list[str] = []
    waiting = [getattr(settings, name) for name in getattr(settings, "__dataclass_fields__", {})]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "://" in value:
            found += url_secrets(value)
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
    return found


def url_secrets(url: str) -> list[str]:
    """Return the parts of a URL that may grant access: password, and long parts of path and query.

    Providers of chain endpoints put their key there. Host and port may be shown.
    """
    parts = urlsplit(url)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    long = [part for part in (*parts.path.split("/"), *values) if len(part) >= _MIN_KEY]
    found = [parts.password or "", *long]
    return [text for part in found for text in {part, unquote(part)} if text]


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, event, the fields of the event, error and traceback."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in _fields(record).items():
            line[f"{name}_" if name in _OWN_FIELDS else name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(self._clean(line), ensure_ascii=False)

    def _clean(self, value: Any) -> Any:
        """Return a value as JSON knows it, without secrets; before encoding, which would disguise some."""
        if isinstance(value, Mapping):
            return {str(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._clean(item) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return self._redact(_plain(value))


class TextLines(logging.Formatter):
    """Time, level, logger, message, fields; a traceback follows on lines of its own."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What comes from outside cannot begin a new one."""
        fields = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        message = _CONTROL.sub("�", f"{record.getMessage()}{fields}")
        text = f"{_time(record)} {record.levelname} {record.name}: {message}"
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + self.formatException(record.exc_info)
        return self._redact(text)


def configure(
    level: str, log_format: LogFormat, redact: Redactor | None = None, stream: TextIO | None = None
) -> None:
    """Send all log lines of this process to one stream, stderr by default. For entry points only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    kind = JsonLines if log_format is LogFormat.JSON else TextLines
    handler.setFormatter(kind(redact or Redactor()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Their info lines repeat every request, whole URL included.
    for noisy in ("httpx", "httpcore", "urllib3", "web3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Its warnings are about each bad request: whoever sends those must not fill the disk.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: object) -> str:
    """Return what JSON has no form for. Objects show their type only: a repr may hold anything."""
    if isinstance(value, (bytes, bytearray)):
        return "0x" + value.hex()
    if value is None or isinstance(value, (str, int, float, BaseException)):
        return str(value)
    return f"<{type(value).__name__}>"
