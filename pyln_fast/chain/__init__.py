"""The chain: what it is made of, what we watch in it, and what follows from what we see there."""
