"""Bringing receipts to nodes: one thread per node, batches cut from the spool."""
