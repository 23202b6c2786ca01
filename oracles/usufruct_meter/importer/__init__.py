"""Recorded usage from files: read, checked and matched to licenses before the first receipt is signed.

Reading knows no lane, no network and no chain. `read_usage`, `read_people` and `read_attribution` take CSV
files by their column names, `read_mapping` the small file that joins them, and `plan_replay` says what is to
be metered.
"""

from usufruct_meter.importer.attribution import Attribution, place_call_ms, read_attribution
from usufruct_meter.importer.mapping import LicenseMapping, LicenseRule, default_mapping, read_mapping
from usufruct_meter.importer.people import People, read_people
from usufruct_meter.importer.plan import (
    Contributor,
    PlannedCall,
    PlannedLicense,
    ReplayPlan,
    plan_replay,
    without_retries,
)
from usufruct_meter.importer.usage import RecordedCall, RecordedUsage, read_usage

__all__ = [
    "Attribution",
    "Contributor",
    "LicenseMapping",
    "LicenseRule",
    "People",
    "PlannedCall",
    "PlannedLicense",
    "RecordedCall",
    "RecordedUsage",
    "ReplayPlan",
    "default_mapping",
    "place_call_ms",
    "plan_replay",
    "read_attribution",
    "read_mapping",
    "read_people",
    "read_usage",
    "without_retries",
]
