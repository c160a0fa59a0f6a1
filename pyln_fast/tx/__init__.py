"""Transactions of BOLT 3: keys, scripts, fees, commitments, claims. Pure functions over the C core."""
