"""The clinic: a fixed split, honest answers, and exactly the records that were used."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from usufruct_meter.call import Call
from usufruct_protocol.errors import ConfigInvalid

from examples.clinic.cohort import Cohort, load_cohort
from examples.clinic.models import NEIGHBORS, ClinicModels
from examples.clinic.service import Clinic
from examples.clinic.settings import load_settings

SPLIT_SHA256 = "1e483a394d07fe4b004eccec396414f575d4e23dcec2e6130115ff471321d65c"


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return load_cohort()


@pytest.fixture(scope="module")
def models(cohort: Cohort) -> ClinicModels:
    return ClinicModels(cohort)


def tag_of(reference: str) -> bytes:
    return hashlib.sha256(reference.encode()).digest()


class Metered:
    """The clinic's API with a call object per request, as the meter gives it, kept for a look afterwards."""

    def __init__(self, cohort: Cohort) -> None:
        self._api = Clinic({reference: tag_of(reference) for reference in cohort.references}).api()
        self.calls: list[Call] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.calls.append(Call())
        await self._api({**scope, "usufruct": self.calls[-1]}, receive, send)

    def post(self, path: str, content: bytes) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://clinic") as client:
                return await client.post(path, content=content)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def clinic(cohort: Cohort) -> Metered:
    return Metered(cohort)


def question(row: Any) -> bytes:
    return json.dumps({"features": [float(value) for value in row]}).encode()


def test_the_split_is_fixed_and_leaves_nobody_out(cohort: Cohort) -> None:
    assert (len(cohort.references), cohort.features.shape, cohort.callers.shape) == (
        426,
        (426, 30),
        (143, 30),
    )
    assert len(cohort.references) == len(set(cohort.references)) == 426
    digest = hashlib.sha256(",".join(cohort.references).encode()).hexdigest()
    assert digest == SPLIT_SHA256, "payees of earlier runs would be other people"
    everyone = np.vstack([cohort.features, cohort.callers])
    assert np.array_equal(np.sort(everyone, axis=0), np.sort(load_breast_cancer().data, axis=0))


def test_the_classifier_has_learned_something(cohort: Cohort, models: ClinicModels) -> None:
    told = [models.probability_malignant(row) >= 0.5 for row in cohort.features]
    assert np.mean(np.asarray(told) == cohort.is_malignant) > 0.97
    again = ClinicModels(cohort)
    assert again.probability_malignant(cohort.callers[0]) == models.probability_malignant(cohort.callers[0])


def test_neighbors_are_those_of_scikit_learns_own_search(cohort: Cohort, models: ClinicModels) -> None:
    scaler = StandardScaler().fit(cohort.features)
    search = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="brute").fit(scaler.transform(cohort.features))
    distances, rows = search.kneighbors(scaler.transform(cohort.callers))
    for caller, row, distance in zip(cohort.callers, rows, distances, strict=True):
        found = models.nearest(caller)
        assert [neighbor.row for neighbor in found] == row.tolist()
        assert np.allclose([neighbor.distance for neighbor in found], distance)


def test_similar_tells_the_meter_exactly_the_records_it_answered_from(
    cohort: Cohort, models: ClinicModels, clinic: Metered
) -> None:
    answer = clinic.post("/similar", question(cohort.callers[7]))
    neighbors = models.nearest(cohort.callers[7])
    assert answer.status_code == 200
    assert clinic.calls[-1].usage == tuple((tag_of(cohort.references[one.row]), 1) for one in neighbors)
    told = [(one["malignant"], one["distance"]) for one in answer.json()["similar"]]
    assert told == [(one.is_malignant, round(one.distance, 6)) for one in neighbors]
    assert "patient" not in answer.text


def test_predict_uses_no_record_in_particular(cohort: Cohort, models: ClinicModels, clinic: Metered) -> None:
    answer = clinic.post("/predict", question(cohort.callers[7]))
    probability = models.probability_malignant(cohort.callers[7])
    assert answer.json() == {"malignant": probability >= 0.5, "probability": round(probability, 6)}
    assert clinic.calls[-1].usage == ()


@pytest.mark.parametrize("path", ["/predict", "/similar"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"features": 1}',
        b'{"features": [1, 2]}',
        json.dumps({"features": [1.0] * 31}).encode(),
        json.dumps({"features": ["1"] * 30}).encode(),
        json.dumps({"features": [True] * 30}).encode(),
        json.dumps({"features": [float("nan")] * 30}).encode(),
        json.dumps({"features": [1e300] * 30}).encode(),
        json.dumps({"features": [10**400] * 30}).encode(),
        b"[" * 10_000,
        b'{"features": [' + b" " * 20_000 + b"]}",
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_and_uses_nothing(
    clinic: Metered, path: str, body: bytes
) -> None:
    answer = clinic.post(path, body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "input_rejected"
    assert clinic.calls[-1].usage == ()


@pytest.mark.parametrize("content", [None, "", "[]", '{"predict_lanes": "a"}', '{"predict_lanes": 1}'])
def test_a_wrong_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    config = tmp_path / "clinic.json"
    if content is not None:
        config.write_text(content, encoding="utf-8")
    monkeypatch.setenv("CLINIC_CONFIG", str(config))
    with pytest.raises(ConfigInvalid, match=r"clinic\.json"):
        load_settings()


def test_without_a_configuration_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLINIC_CONFIG", raising=False)
    with pytest.raises(ConfigInvalid, match="CLINIC_CONFIG is not set"):
        load_settings()
