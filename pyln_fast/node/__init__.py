"""The node: one object without I/O that joins channels, chain, payments, wallet and journal."""
