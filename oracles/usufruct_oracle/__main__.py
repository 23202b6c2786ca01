"""`python -m usufruct_oracle` is `usufruct-oracle`."""

from usufruct_oracle.cli import main

main()
