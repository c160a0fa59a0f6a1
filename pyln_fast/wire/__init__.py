"""Messages as values, and their bytes (BOLTs 1, 2, 4 and 7)."""
