"""What a node would not sign without a person having looked."""
