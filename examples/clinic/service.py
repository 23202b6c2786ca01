"""The two endpoints and what they answer from, without the meter around them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.clinic.cohort import FEATURES, Table, load_cohort
from examples.clinic.models import ClinicModels

MAX_BODY_BYTES: Final = 16_384


class Clinic:
    """The models behind /predict and /similar; `record_tags` are the steward's, by patient reference."""

    def __init__(self, record_tags: Mapping[str, bytes]) -> None:
        cohort = load_cohort()
        self._models = ClinicModels(cohort)
        self._tag_of_row = [record_tags[reference] for reference in cohort.references]

    def api(self) -> Starlette:
        """Return the endpoints as an app that a meter can be put around."""
        return Starlette(
            routes=[
                Route("/health", health),
                Route("/predict", self.predict, methods=["POST"]),
                Route("/similar", self.similar, methods=["POST"]),
            ]
        )

    async def predict(self, request: Request) -> Response:
        """Answer from the classifier that learned from all contributors."""
        features = _features_of(await request.body())
        if features is None:
            return _bad_question()
        probability = self._models.probability_malignant(features)
        return JSONResponse({"malignant": probability >= 0.5, "probability": round(probability, 6)})

    async def similar(self, request: Request) -> Response:
        """Answer with the nearest contributors, and tell the meter whose records these are."""
        features = _features_of(await request.body())
        if features is None:
            return _bad_question()
        neighbors = self._models.nearest(features)
        for neighbor in neighbors:
            request.scope["usufruct"].use(self._tag_of_row[neighbor.row], weight=1)
        return JSONResponse(
            {
                "similar": [
                    {"distance": round(neighbor.distance, 6), "malignant": neighbor.is_malignant}
                    for neighbor in neighbors
                ]
            }
        )


async def health(_request: Request) -> Response:
    """Say that this worker has trained its models and answers."""
    return JSONResponse({"status": "ok"})


def _features_of(body: bytes) -> Table | None:
    """Return the question's 30 measurements, or nothing if it is no such question."""
    if len(body) > MAX_BODY_BYTES:
        return None
    try:
        values = json.loads(body)["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(values, list) or len(values) != FEATURES:
        return None
    if not all(type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value) for value in values):
        return None
    return np.asarray(values, dtype=np.float64)


def _bad_question() -> Response:
    """Answer with a problem (RFC 9457); an answer of 400 or more leaves no receipt, so it costs nothing."""
    return JSONResponse(
        {
            "title": "Not a question this model can answer",
            "status": 422,
            "detail": f'Send {{"features": [...]}} with {FEATURES} finite numbers.',
            "code": "input_rejected",
        },
        status_code=422,
        media_type="application/problem+json",
    )
