"""Lanes: a key, a license, a spool, and the one order in which a call becomes a receipt."""
