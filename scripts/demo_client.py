"""The caller's side of the demo: real HTTP questions, receipts kept, some questions asked twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx
from usufruct_meter.http.request import request_sha256
from usufruct_meter.verify import KeptReceipt
from usufruct_protocol.errors import InvariantBroken, Transient

CONCURRENT_CALLS: Final = 16
RECEIPT_HEADER: Final = "Usage-Receipt"
SALT_HEADER: Final = "Usage-Receipt-Salt"
CALL_TIMEOUT_S: Final = 30.0
MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Question:
    """One call to be made. `key` makes a retry safe; `is_retried` asks the same thing a second time."""

    license_id: int
    path: str
    body: bytes
    key: str
    is_retried: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answered call: what was asked, and what the caller keeps of the answer."""

    license_id: int
    key: str
    receipt: KeptReceipt


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything that came of a list of questions."""

    receipts: tuple[Answered, ...]
    retries: int
    resent: int


def questions(
    rows: Sequence[Sequence[float]],
    routes: Sequence[tuple[int, str]],
    count: int,
    retry_every: int,
    first: int,
) -> list[Question]:
    """Return `count` questions about the given patients, over the (license id, path) routes in turn."""
    made = []
    for number in range(first, first + count):
        license_id, path = routes[number % len(routes)]
        body = json.dumps({"features": list(rows[number % len(rows)])}).encode("ascii")
        made.append(
            Question(license_id, path, body, f"question-{number}", number % retry_every == retry_every - 1)
        )
    return made


def ask_all(base_url: str, asked: Sequence[Question], on_answer: Callable[[], None]) -> Conversation:
    """Ask every question over HTTP and keep the receipts.

    Raises: Transient if the API stops answering; InvariantBroken if an answer comes without a receipt, or a
            retry is given another receipt than the first answer.
    """
    try:
        return asyncio.run(_ask_all(base_url, asked, on_answer))
    except ExceptionGroup as group:
        # One worker's failure has stopped the others; it is what there is to say.
        raise group.exceptions[0] from None


def ask_refused(base_url: str, path: str, bodies: Iterable[bytes]) -> int:
    """Ask what cannot be answered and return how often. Raises: InvariantBroken if that leaves a receipt."""
    refused = 0
    for body in bodies:
        answer = httpx.post(base_url + path, content=body, timeout=CALL_TIMEOUT_S)
        if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY or RECEIPT_HEADER in answer.headers:
            raise InvariantBroken(
                f"a bad question to {path} was answered {answer.status_code} with a receipt"
            )
        refused += 1
    return refused


async def _ask_all(base_url: str, asked: Sequence[Question], on_answer: Callable[[], None]) -> Conversation:
    waiting = iter(asked)
    receipts: list[Answered] = []
    resent = 0

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal resent
        for question in waiting:
            receipt, tries = await _ask(client, question)
            resent += tries - 1
            if question.is_retried:
                again, _ = await _ask(client, question)
                if again != receipt:
                    raise InvariantBroken(f"the retry of {question.key} was given another receipt")
            receipts.append(Answered(question.license_id, question.key, receipt))
            on_answer()

    limits = httpx.Limits(max_connections=CONCURRENT_CALLS)
    async with (
        httpx.AsyncClient(base_url=base_url, timeout=CALL_TIMEOUT_S, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONCURRENT_CALLS):
            group.create_task(worker(client))
    return Conversation(tuple(receipts), sum(question.is_retried for question in asked), resent)


async def _ask(client: httpx.AsyncClient, question: Question) -> tuple[KeptReceipt, int]:
    """Return the receipt and how many tries it took; a key makes asking again safe."""
    reason = ""
    for tries in range(1, MAX_TRIES + 1):
        try:
            answer = await client.post(
                question.path, content=question.body, headers={"Idempotency-Key": question.key}
            )
        except httpx.TransportError as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            if answer.status_code == httpx.codes.OK:
                return _kept(question, answer), tries
            reason = f"HTTP {answer.status_code}: {answer.text[:200]}"
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                break
        await asyncio.sleep(0.1 * tries)
    raise Transient(f"{question.path} did not answer {question.key}: {reason}")


def _kept(question: Question, answer: httpx.Response) -> KeptReceipt:
    """Return what to keep: the receipt, and what shows later that it is for this request."""
    if RECEIPT_HEADER not in answer.headers or SALT_HEADER not in answer.headers:
        raise InvariantBroken(f"{question.path} answered {question.key} without a receipt")
    digest = request_sha256("POST", question.path, question.body, question.key)
    return KeptReceipt(answer.headers[RECEIPT_HEADER], answer.headers[SALT_HEADER], digest.hex())
