"""The commands of buyers and callers, one module each."""
