"""Where the app finds its lanes and tags: one JSON file, named by CLINIC_CONFIG."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from usufruct_protocol.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class ClinicSettings:
    """Lane folders of the two licenses, and the record tags the steward handed out, by patient reference."""

    predict_lanes: Path
    similar_lanes: Path
    record_tags: dict[str, bytes]


def load_settings() -> ClinicSettings:
    """Read the file that CLINIC_CONFIG names. Raises: ConfigInvalid."""
    name = os.environ.get("CLINIC_CONFIG")
    if not name:
        raise ConfigInvalid("CLINIC_CONFIG is not set", hint="name the JSON file of examples/clinic")
    try:
        document = json.loads(Path(name).read_text(encoding="utf-8"))
        return ClinicSettings(
            predict_lanes=Path(document["predict_lanes"]),
            similar_lanes=Path(document["similar_lanes"]),
            record_tags={patient: bytes.fromhex(tag) for patient, tag in document["record_tags"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigInvalid(
            f"{name}: not a clinic configuration ({error!r})",
            hint="it has predict_lanes, similar_lanes and record_tags (hex by patient)",
        ) from error
