"""The node's control socket: JSON-RPC for its owner."""
