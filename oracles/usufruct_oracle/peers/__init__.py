"""Other nodes: what is asked of them, and how little of it is believed."""
