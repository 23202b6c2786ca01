"""The rules that every node computes to the bit: money, receipts, note trees, reports. Pure."""
