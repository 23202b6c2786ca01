"""How many faults in a contract the tests notice: see `python -m toolchain.mutation --help`."""
