"""What others say of the time, and whether this machine's clock can be signed by."""
