"""Receipts in the formats of others: CloudEvents, FOCUS."""
