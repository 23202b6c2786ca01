"""Receipts on their way in: admitted, committed, acknowledged, fetched from peers."""
