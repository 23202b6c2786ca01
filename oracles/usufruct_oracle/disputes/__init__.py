"""Standing up for what was signed, and against who signed two histories."""
