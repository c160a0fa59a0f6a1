"""Connections to peers: encryption (BOLT 8), init (BOLT 1), and who is connected. Bytes in, bytes and events out."""
