"""What a meter asks of a chain, and the one transaction it sends: anchoring a checkpoint.

Over httpx and the protocol's own transaction bytes, so that a buyer installs no web3.
"""
