"""Who may do what: the roles of the AccessManager, and the functions that each may call.

A role sets parameters, approves templates, rotates signers or rejects a pending report. None moves money:
there is no such function to give to a role.
"""

from __future__ import annotations

from typing import Final

ADMIN_ROLE: Final = 0
"""Grants roles and maps functions to them; also the role of every restricted function not named below."""
COUNCIL_ROLE: Final = 1
GUARDIAN_ROLE: Final = 2

ROLE_NAMES: Final = {ADMIN_ROLE: "admin", COUNCIL_ROLE: "council", GUARDIAN_ROLE: "guardian"}

FUNCTION_ROLES: Final[dict[str, dict[str, int]]] = {
    "LicenseRegistry": {
        "setTemplate": COUNCIL_ROLE,
        "setFloors": COUNCIL_ROLE,
        "setCommunity": COUNCIL_ROLE,
        "setBondEpochs": COUNCIL_ROLE,
    },
    "OracleCommittee": {"rotate": COUNCIL_ROLE},
    "RoyaltySplitter": {"scheduleReissue": COUNCIL_ROLE},
    "UsageSettlement": {
        "reject": GUARDIAN_ROLE,
        "rejectByCouncil": COUNCIL_ROLE,
        "setDisputeWindow": COUNCIL_ROLE,
        "setNoteMinimum": COUNCIL_ROLE,
    },
    "WindDown": {"announceByCouncil": COUNCIL_ROLE, "cancelByCouncil": COUNCIL_ROLE},
    "OperatorBonds": {"setMinimumBond": COUNCIL_ROLE},
    "CouncilRegister": {"appointAuditor": COUNCIL_ROLE, "removeAuditor": COUNCIL_ROLE},
}
"""Every restricted function of every contract, by contract and name."""
