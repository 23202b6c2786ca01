"""The buyer's side: a gateway that signs one receipt for every call."""
