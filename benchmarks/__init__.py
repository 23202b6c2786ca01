"""What things cost, measured here and now: ratios against a floor or a peer, and gas on a dev chain."""
