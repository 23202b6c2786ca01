"""A signer command as an operator would write one: `python signing_program.py <key file>`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from usufruct_protocol.signing import LocalSigner


def main() -> None:
    signer = LocalSigner(bytes.fromhex(Path(sys.argv[1]).read_text(encoding="ascii").strip()))
    for line in sys.stdin:
        asked = json.loads(line)
        signature = signer.sign_digest(bytes.fromhex(asked["digest"].removeprefix("0x")))
        sys.stdout.write(json.dumps({"id": asked["id"], "signature": "0x" + signature.hex()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
