"""The patients: scikit-learn's bundled breast-cancer set, split once and for all.

426 of the 569 patients contribute (the models are made from their records), the other 143 are what callers
ask about. The split follows SHA-256 of the row number, so it is the same for every version of every library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

CONTRIBUTORS: Final = 426
FEATURES: Final = 30
COLLECTION_NAME: Final = "clinic/breast-cancer-wisconsin"

Table = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Contributors' records (one row each, in the order of `references`), their diagnoses, and the others.

    Shapes: `references` 426 texts, `features` (426, 30), `is_malignant` (426,), `callers` (143, 30).
    """

    references: tuple[str, ...]
    features: Table
    is_malignant: npt.NDArray[np.bool_]
    callers: Table


def load_cohort() -> Cohort:
    """Load and split the set. Pure but for reading the file inside scikit-learn."""
    dataset = load_breast_cancer()
    features = np.asarray(dataset.data, dtype=np.float64)
    is_malignant = np.asarray(dataset.target) == list(dataset.target_names).index("malignant")
    by_hash = sorted(range(len(features)), key=lambda row: hashlib.sha256(b"patient %d" % row).digest())
    contributors, callers = sorted(by_hash[:CONTRIBUTORS]), sorted(by_hash[CONTRIBUTORS:])
    return Cohort(
        references=tuple(f"patient-{row:03d}" for row in contributors),
        features=features[contributors],
        is_malignant=is_malignant[contributors],
        callers=features[callers],
    )
