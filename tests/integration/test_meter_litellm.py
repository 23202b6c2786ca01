"""A real LiteLLM proxy with the hook in it: every answer is counted, streamed or not, and nothing else.

LiteLLM lives in an environment of its own: `make test-litellm` builds it and runs this.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from usufruct_meter.lanes.lane_file import LaneFile
from usufruct_meter.lanes.spool_reader import SpoolReader
from usufruct_meter.streaming import receipts_in
from usufruct_protocol.receipts import UsageReceipt, decode_signed_receipt, verify_receipt_signature

from tests.integration.meter_node import DOMAIN, free_port
from tests.unit.meter.lane_kit import new_lane

ROOT = Path(__file__).resolve().parents[2]
PROXY = ROOT / ".venv-litellm" / "bin" / "litellm"
WORDS = " ".join(f"word{number}" for number in range(200))
MASTER_KEY = f"sk-{secrets.token_hex(32)}"
KEY = {"Authorization": f"Bearer {MASTER_KEY}"}
ASK_FOR_USAGE = {"stream_options": {"include_usage": True}}
HOOK = """
import os
from usufruct_meter.litellm_hook import UsufructHook
hook = UsufructHook.from_lane(os.environ["METER_LANES"])
"""
CONFIG = {
    "model_list": [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/gpt-4o", "api_key": "none", "mock_response": response},
        }
        for name, response in (("talk", WORDS), ("broken", "litellm.InternalServerError"))
    ],
    "litellm_settings": {"callbacks": "metering.hook", "num_retries": 0},
}

pytestmark = [
    pytest.mark.skipif(not PROXY.exists(), reason="NOT TESTED: LiteLLM is not there; make test-litellm"),
    pytest.mark.timeout(600),
]


@dataclass
class Proxy:
    """A running proxy and the lane that it meters with."""

    url: str
    file: LaneFile
    log: Path

    def ask(self, *, model: str = "talk", stream: bool = False, **options: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        body |= options.pop("body", {})
        headers = {**KEY, **options.pop("headers", {})}
        return httpx.post(
            f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120, **options
        )

    def units(self) -> list[int]:
        reader = SpoolReader.open(self.file.spool)
        units = [stored.receipt.units for stored, _ in reader.receipts_from(self.file.lane, 0)]
        reader.close()
        return units


def start(folder: Path, **lane: Any) -> Iterator[Proxy]:
    file = new_lane(folder / "lanes", **lane)
    (folder / "metering.py").write_text(HOOK)
    (folder / "config.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
    port = free_port()
    command = [PROXY, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    settings = {
        **os.environ,
        "METER_LANES": str(file.path.parent),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "LITELLM_TELEMETRY": "False",
        "HOME": str(folder),
    }
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=settings, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                httpx.get(f"{url}/health/liveliness", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield Proxy(url, file, log)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from start(tmp_path_factory.mktemp("proxy"))


def signed(text: str) -> UsageReceipt:
    receipt, signature = decode_signed_receipt(text)
    verify_receipt_signature(receipt, signature, DOMAIN)
    return receipt


def receipts_of(answer: httpx.Response) -> list[UsageReceipt]:
    texts = [answer.headers["usage-receipt"], *(text for text, _ in receipts_in(answer.text))]
    return [signed(text) for text in texts]


def events_of(answer: httpx.Response) -> list[Any]:
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(answer: httpx.Response) -> str:
    choices = [choice for one in events_of(answer)[:-1] for choice in one["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_a_whole_answer_carries_the_receipt_of_its_tokens(proxy: Proxy) -> None:
    before = len(proxy.units())
    answer = proxy.ask()
    assert answer.status_code == 200, answer.text
    (receipt,) = receipts_of(answer)
    assert "usage-receipt-salt" not in answer.headers, "the request is not known as it was sent"
    assert receipt.units == answer.json()["usage"]["total_tokens"] > 0
    assert proxy.units()[before:] == [receipt.units], "one call, one receipt"


def test_a_stream_names_its_receipts_and_they_sum_to_its_tokens(proxy: Proxy) -> None:
    before = len(proxy.units())
    asked, quiet = (proxy.ask(stream=True, body=body) for body in (ASK_FOR_USAGE, {}))
    (total,) = [one["usage"]["total_tokens"] for one in events_of(asked)[:-1] if one.get("usage")]
    assert not any(one.get("usage") for one in events_of(quiet)[:-1]), "the report was not asked for"
    for answer in (asked, quiet):
        assert answer.status_code == 200, answer.text
        first, *later = receipts_of(answer)
        assert answer.headers["usufruct-seq"] == str(first.seq)
        assert answer.headers["usufruct-lane"] == f"0x{first.lane.hex()}"
        assert sum(receipt.units for receipt in (first, *later)) == total
        assert answer.text.index(": usage-receipt") < answer.text.index("data: [DONE]")
        assert text_of(answer) == WORDS
    assert sum(proxy.units()[before:]) == 2 * total


def test_a_failed_call_costs_nothing(proxy: Proxy) -> None:
    before = proxy.units()
    for stream in (False, True):
        answer = proxy.ask(model="broken", stream=stream)
        assert answer.status_code >= 400, answer.text
        assert "usage-receipt" not in answer.headers
    assert proxy.units() == before


def test_inv_40_a_repeat_is_counted_once_and_only_with_an_idempotency_key(proxy: Proxy) -> None:
    key = {"Idempotency-Key": "k1"}
    for stream in (False, True):
        first, again = (proxy.ask(stream=stream, headers=key) for _ in range(2))
        assert receipts_of(first) == receipts_of(again)
    before = len(proxy.units())
    chosen = {"x-litellm-call-id": "chosen by the caller"}
    first, again = (proxy.ask(headers=chosen) for _ in range(2))
    assert receipts_of(first) != receipts_of(again)
    assert len(proxy.units()) == before + 2
    assert proxy.ask(headers={"Idempotency-Key": "a b"}).status_code == 400


def test_a_caller_that_hangs_up_has_what_was_delivered_counted(proxy: Proxy) -> None:
    before = len(proxy.units())
    body = {"model": "talk", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    url = f"{proxy.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=KEY, timeout=60) as answer:
        next(answer.iter_bytes())
    deadline = time.monotonic() + 30
    while sum(proxy.units()[before:]) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_cannot_be_counted_is_refused_before_any_work(tmp_path: Path) -> None:
    for proxy in start(tmp_path, valid_to_ms=1):
        for stream in (False, True):
            answer = proxy.ask(stream=stream)
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "60"), answer.text
            assert "lane_outside_validity" in answer.text
            assert "word1" not in answer.text
        assert proxy.units() == []
