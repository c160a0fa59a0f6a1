"""The node's own money on chain: keys, addresses, coins and the transactions that spend them."""
