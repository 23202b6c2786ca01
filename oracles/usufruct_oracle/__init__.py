"""The operator's side: a node that counts receipts and signs one report an epoch."""
