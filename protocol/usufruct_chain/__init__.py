"""The contracts as seen from Python: compiled artifacts, reads at a block hash, transactions."""
