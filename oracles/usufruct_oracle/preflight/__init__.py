"""What an operator should know before a node runs."""
