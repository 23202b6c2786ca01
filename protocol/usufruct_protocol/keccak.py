"""Keccak-256, the one hash of everything that a contract checks.

The only place that names the implementation: tiny-keccak hashes a tree node some ten times faster than the
usual default backends. The name is bound directly, not wrapped, because a wrapper would cost a
third of a hash in the loops that build trees.
"""

from tiny_keccak import keccak256

__all__ = ["keccak256"]
