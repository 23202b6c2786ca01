"""Reading token counts out of the answers of model servers, whole or in events.

Input plus output tokens, as the server reports them: OpenAI (completions, chat, responses, embeddings) and
what imitates it, Anthropic, Gemini and Ollama. A count that is no plain integer is no count.
"""

from __future__ import annotations

import json
from typing import Any, Final

_TOTAL: Final = ("total_tokens", "totalTokenCount")
_INPUT: Final = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_eval_count")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "candidatesTokenCount", "eval_count")
_INPUT_BESIDES: Final = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""Input that Anthropic does not include in `input_tokens`; others have no fields of these names."""
_NAMES: Final = frozenset((*_TOTAL, *_INPUT, *_OUTPUT, *_INPUT_BESIDES))
_MAX_TOKENS: Final = 2**48 - 1


class TokenTally:
    """The latest counts that an answer has reported, and how many events brought new text.

    Servers that report while they stream report totals, so the last value of a field replaces the one before.
    """

    def __init__(self) -> None:
        self._fields: dict[str, int] = {}
        self.deltas = 0

    def read(self, document: bytes) -> None:
        """Take one JSON document: a whole answer, or one event of a stream. Anything else changes nothing."""
        try:
            content = json.loads(document)
        except (ValueError, RecursionError):
            return
        if not isinstance(content, dict):
            return
        for holder in (content, content.get("message"), content.get("response")):
            if isinstance(holder, dict):
                self._take(holder.get("usage"))
                self._take(holder.get("usageMetadata"))
        self._take({name: content.get(name) for name in ("prompt_eval_count", "eval_count")})
        self.deltas += _brings_text(content)

    def reported(self) -> int | None:
        """Return input plus output tokens, or None as long as the answer has not reported both."""
        total = self._first(_TOTAL)
        if total is not None:
            return total
        taken, given = self._first(_INPUT), self._first(_OUTPUT)
        if taken is None or given is None:
            return None
        return taken + given + sum(self._fields.get(name, 0) for name in _INPUT_BESIDES)

    def delivered(self) -> int:
        """Return what has surely been delivered so far: a text event is at least one token."""
        taken = (self._first(_INPUT) or 0) + sum(self._fields.get(name, 0) for name in _INPUT_BESIDES)
        return max(taken + self.deltas, self.reported() or 0)

    def _take(self, usage: object) -> None:
        if isinstance(usage, dict):
            for name, value in usage.items():
                if name in _NAMES and type(value) is int and 0 <= value <= _MAX_TOKENS:
                    self._fields[name] = value

    def _first(self, names: tuple[str, ...]) -> int | None:
        return next((self._fields[name] for name in names if name in self._fields), None)


def _brings_text(event: dict[str, Any]) -> bool:
    """Whether an event of a stream carries new output, in any of the shapes that servers use."""
    choices = event.get("choices")
    if isinstance(choices, list):
        return any(_has_output(choice) for choice in choices if isinstance(choice, dict))
    kind = event.get("type")
    if isinstance(kind, str) and kind.endswith("delta"):
        return bool(event.get("delta")) and kind != "message_delta"
    return "type" not in event and any(event.get(name) for name in ("candidates", "response", "message"))


def _has_output(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(value for name, value in delta.items() if name != "role")
    return bool(choice.get("text"))
