"""How many units an answer is."""
