"""What a node says over HTTP, and to whom."""
