"""The chain as a node needs it: what it reads, what it sends."""
