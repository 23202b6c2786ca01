"""What meters and callers ask nodes over HTTP, and how little they believe of it."""
