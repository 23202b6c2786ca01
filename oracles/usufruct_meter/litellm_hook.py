"""Metering inside a LiteLLM proxy. LiteLLM is not installed with the meter; this module needs it.

    # metering.py, named in the proxy's config: litellm_settings: {callbacks: metering.hook}
    hook = UsufructHook.from_lane("lanes/", units="tokens")

LiteLLM's success callbacks fire twice or not at all, and after the answer has left; so calls are metered in
their path, by the hooks that every answer passes, and a call that cannot be counted is refused. A hook does
not see a request as it was sent, so callers get no salts here and cannot tell that a receipt is for their own
call: for that wrap the proxy's app in `AsgiMeter` instead.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from usufruct_protocol.errors import UsufructError

from usufruct_meter.call import Call
from usufruct_meter.counting.rules import CountingRule, UnitsRule
from usufruct_meter.http.gateway import SALT_HEADER, Gateway, GatewayOptions, Refusal, receipt_headers
from usufruct_meter.http.request import check_idempotency_key, repeated_request_id, request_sha256
from usufruct_meter.lanes.group_commit import GroupCommit
from usufruct_meter.meter import Meter
from usufruct_meter.signed_receipt import MeteredCall, SignedReceipt
from usufruct_meter.streaming import EVENT_STREAM, MeteredStream

_logger = logging.getLogger(__name__)

_CALL_NAME: Final = "usufruct_call"
_METADATA: Final = ("litellm_metadata", "metadata")
_MAX_CALLS: Final = 20_000
"""Calls remembered between hooks; LiteLLM does not tell when one is over."""


@dataclass(slots=True)
class _KnownCall:
    """A call on its way through the hooks.

    is_quiet: the caller did not ask for the report of tokens that we asked for
    """

    response_id: str
    request_sha256: bytes
    is_quiet: bool = False
    receipt: SignedReceipt | None = None
    stream: MeteredStream | None = None


class UsufructHook(CustomLogger):  # type: ignore[misc]  # LiteLLM is typed for nobody but itself
    """Meters every call that a LiteLLM proxy answers, streamed or not.

    Streams of a proxy whose kind is "tokens" are asked to report their tokens; the report is taken out again
    where the caller did not ask for it. A stream that fails after its headers counts what was delivered.
    """

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway
        self._opening = asyncio.Lock()
        self._open_meter: tuple[Meter, GroupCommit] | None = None
        self._calls: OrderedDict[str, _KnownCall] = OrderedDict()

    @classmethod
    def from_lane(cls, lane: Path | str, *, units: str | UnitsRule | CountingRule = "tokens") -> Self:
        """Return a hook for a lane file or a folder of them, opened with the first call of each worker.

        Raises: ConfigInvalid for a bad option.
        """
        return cls(Gateway(GatewayOptions(lane=lane, units=units)))

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Refuse before any work what could not be counted, and give the call a name of our own.

        A caller can choose LiteLLM's call id, so that one must not decide what is a repeat.
        """
        _metadata(data).pop(_CALL_NAME, None)  # a caller may send metadata too
        try:
            await self._ready()
            call = self._known(data, user_api_key_dict)
        except UsufructError as error:
            raise _refusal(error) from error
        if self._gateway.counts_tokens and data.get("stream") and call_type in ("completion", "acompletion"):
            asked = data.get("stream_options") or {}
            if not asked.get("include_usage"):
                data["stream_options"] = {**asked, "include_usage": True}
                call.is_quiet = True
        return data

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Meter an answer that is whole, before it leaves. Raises: HTTPException if it cannot be counted."""
        try:
            call = self._known(data, user_api_key_dict)
            text = (
                response.model_dump_json() if hasattr(response, "model_dump_json") else json.dumps(response)
            )
            metered = MeteredCall(
                self._gateway.rule.whole(Call(), text.encode("utf-8")),
                response_id=call.response_id,
                request_sha256=call.request_sha256,
            )
            call.receipt = await (await self._ready()).meter(metered)
        except UsufructError as error:
            _logger.error("a call was answered but could not be counted, so it is refused: %s", error)
            raise _refusal(error) from error
        return response

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any, **_: Any
    ) -> dict[str, str] | None:
        """Return the receipt of a whole answer, or the first receipt of a stream that is about to begin.

        What this raises LiteLLM only logs; the stream itself then refuses.
        """
        call = self._known(data, user_api_key_dict)
        if call.receipt is not None:
            return _headers(call.receipt)
        if not hasattr(response, "__aiter__"):
            return None
        stream = self._new_stream(call)
        opening = await (await self._ready()).meter(stream.announce())
        stream.opened(opening)
        call.stream = stream
        return _headers(opening, is_stream=True)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Pass a stream on as it is counted. Raises: HTTPException once it cannot be counted."""
        try:
            call = self._known(request_data, user_api_key_dict)
            stream = call.stream or self._new_stream(call)
            group = await self._ready()
        except UsufructError as error:
            raise _refusal(error) from error
        has_ended = False
        try:
            async for chunk in response:
                async for part in self._pass_on(group, stream, chunk):
                    if not (call.is_quiet and _is_usage_report(part)):
                        yield part
            async for part in self._pass_on(group, stream, None):
                yield part
            has_ended = True
        except UsufructError as error:
            _logger.error("a stream was cut off, because it could not be counted further: %s", error)
            raise _refusal(error) from error
        finally:
            if not has_ended:
                await asyncio.shield(asyncio.ensure_future(_break_off(group, stream)))

    async def _pass_on(self, group: GroupCommit, stream: MeteredStream, chunk: Any) -> AsyncIterator[Any]:
        """Yield a chunk once it is counted, and receipts that came with it as comments; None is the end."""
        event = b"" if chunk is None else _event_of(chunk)
        steps = stream.take(event, is_last=chunk is None)
        signed: SignedReceipt | None = None
        while True:
            try:
                step = steps.send(signed)
            except StopIteration:
                return
            signed = None
            if isinstance(step, MeteredCall):
                signed = await group.meter(step)
            elif event and step.startswith(event) and not isinstance(chunk, (bytes, str)):
                yield chunk
                if step != event:
                    yield step[len(event) :]
            elif step:
                yield step

    def _new_stream(self, call: _KnownCall) -> MeteredStream:
        stream = self._gateway.stream(Call(), EVENT_STREAM, call.response_id, call.request_sha256)
        stream.shows_salts = False
        return stream

    def _known(self, data: dict[str, Any], user_api_key_dict: Any) -> _KnownCall:
        """Return what is known of a call; by name, since LiteLLM changes what it hands to the hooks.

        Raises: BadIdempotencyKey.
        """
        metadata = _metadata(data)
        known = self._calls.get(str(metadata.get(_CALL_NAME)))
        if known is None:
            name = uuid4().hex
            digest = _request_digest(data)
            caller = str(getattr(user_api_key_dict, "api_key", None) or "").encode("utf-8")
            repeated = repeated_request_id(digest, caller, _idempotency_key(data))
            known = _KnownCall(repeated or f"litellm:{name}", digest)
            metadata[_CALL_NAME] = name
            self._calls[name] = known
            while len(self._calls) > _MAX_CALLS:
                self._calls.popitem(last=False)
        return known

    async def _ready(self) -> GroupCommit:
        """Return the way to meter, opening the lane with the first call. Raises: as `Lane.check_ready`."""
        if self._open_meter is None:
            async with self._opening:
                if self._open_meter is None:
                    meter = await asyncio.to_thread(Meter.open, self._gateway.location)
                    self._open_meter = meter, GroupCommit(meter.lane)
                    atexit.register(meter.close)
        meter, group = self._open_meter
        await asyncio.to_thread(meter.lane.check_ready) if meter.lane.is_failing else meter.lane.check_ready()
        return group


def _headers(signed: SignedReceipt, *, is_stream: bool = False) -> dict[str, str]:
    headers = dict(receipt_headers(signed, is_stream=is_stream))
    del headers[SALT_HEADER]
    return headers


async def _break_off(group: GroupCommit, stream: MeteredStream) -> None:
    """Sign for what was delivered of a stream that did not end."""
    signed: SignedReceipt | None = None
    steps = stream.break_off()
    try:
        while True:
            step = steps.send(signed)
            signed = await group.meter(step) if isinstance(step, MeteredCall) else None
    except StopIteration:
        return
    except UsufructError as error:
        _logger.error("the last part of a stream could not be counted: %s", error)


def _event_of(chunk: Any) -> bytes:
    """Return a chunk as the event that it becomes."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode("utf-8")
    text = (
        chunk.model_dump_json(exclude_none=True) if hasattr(chunk, "model_dump_json") else json.dumps(chunk)
    )
    return b"data: " + text.encode("utf-8") + b"\n\n"


def _is_usage_report(chunk: Any) -> bool:
    """Whether a chunk only reports tokens, which the caller did not ask for."""
    return not isinstance(chunk, (bytes, str)) and not getattr(chunk, "choices", True)


def _request_digest(data: Mapping[str, Any]) -> bytes:
    """Return the digest of a request: method, path, key, and the body as JSON with sorted names.

    Without its metadata, which the proxy has mixed with its own.
    """
    request = data.get("proxy_server_request") or {}
    body = request.get("body")
    sent = {name: value for name, value in body.items() if name not in _METADATA} if body else None
    content = json.dumps(sent, sort_keys=True, separators=(",", ":"), default=str).encode("utf-8")
    path = "/" + str(request.get("url", "")).partition("://")[2].partition("/")[2]
    key = _idempotency_key(data).decode("ascii")
    return request_sha256(str(request.get("method", "POST")), path.encode("utf-8"), content, key)


def _idempotency_key(data: Mapping[str, Any]) -> bytes:
    headers = (data.get("proxy_server_request") or {}).get("headers") or {}
    values = [
        str(value).encode("utf-8") for name, value in headers.items() if name.lower() == "idempotency-key"
    ]
    return check_idempotency_key(values)


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    """Return where the proxy keeps what is about a call and is not sent on."""
    name = next((name for name in _METADATA if isinstance(data.get(name), dict)), None)
    if name is None:
        name = _METADATA[-1]
        data[name] = {}
    found: dict[str, Any] = data[name]
    return found


def _refusal(error: UsufructError) -> HTTPException:
    refusal = Refusal.of(error)
    headers = {name: value for name, value in refusal.headers if name == "retry-after"}
    return HTTPException(refusal.status, json.loads(refusal.body), headers)
