"""The API behind its meters: /predict answers from what was learned, /similar from the nearest patients.

Each route is metered for a license of its own. A /similar call hands the meter exactly the records it
answered from, so it pays exactly those patients; /predict pays everyone on the roster.

    CLINIC_CONFIG=clinic.json uvicorn examples.clinic.app:app --workers 2
"""

from __future__ import annotations

from usufruct_meter.meter import Meter

from examples.clinic.service import Clinic
from examples.clinic.settings import load_settings

_settings = load_settings()
_api = Clinic(_settings.record_tags).api()
_predict_metered = Meter.asgi(_api, lane=_settings.predict_lanes, routes=["/predict"], units="calls")

app = Meter.asgi(_predict_metered, lane=_settings.similar_lanes, routes=["/similar"], units="calls")
