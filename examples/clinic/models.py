"""Two models made from the contributors' records: one that learned from all, one that looks some up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.clinic.cohort import Cohort, Table

NEIGHBORS: Final = 5


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A contributor whose record is close to the question; `row` is their place in the cohort."""

    row: int
    distance: float
    is_malignant: bool


class ClinicModels:
    """The classifier behind /predict and the search behind /similar, trained when the object is made."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._classifier: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
        self._classifier.fit(cohort.features, cohort.is_malignant)
        self._mean = cohort.features.mean(axis=0)
        self._deviation = cohort.features.std(axis=0)
        self._standardized = self._standardize(cohort.features)

    def probability_malignant(self, features: Table) -> float:
        """Return the probability that one patient's tumor is malignant. Shapes: `features` (30,)."""
        return float(self._classifier.predict_proba(features.reshape(1, -1))[0, 1])

    def nearest(self, features: Table, count: int = NEIGHBORS) -> list[Neighbor]:
        """Return the contributors nearest by standardized features, nearest first, ties by their order.

        Shapes: `features` (30,); returns `count` neighbors.
        """
        distances = np.sqrt(((self._standardized - self._standardize(features)) ** 2).sum(axis=1))
        rows = np.argsort(distances, kind="stable")[:count]
        return [
            Neighbor(int(row), float(distances[row]), bool(self._cohort.is_malignant[row])) for row in rows
        ]

    def _standardize(self, features: Table) -> Table:
        return np.asarray((features - self._mean) / self._deviation, dtype=np.float64)
