"""The node's signing key: where it is kept and how it is opened."""
