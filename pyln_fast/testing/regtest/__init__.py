"""An embedded regtest node: Bitcoin Core's consensus engine, its mempool policy, and its JSON-RPC on loopback.

    with RegtestNode() as node:
        txid = node.send_to(address, 100_000)
        node.mine(6)

    async with RegtestServer(data_dir) as server:
        server.url, server.cookie_path, server.node

Needs the extra `regtest` (py-bitcoinkernel).
"""

from __future__ import annotations

from pyln_fast.testing.regtest.errors import BlockRejected, Rejected, RejectKind
from pyln_fast.testing.regtest.node import RegtestNode
from pyln_fast.testing.regtest.policy import Policy
from pyln_fast.testing.regtest.server import RegtestServer

__all__ = ["BlockRejected", "Policy", "RegtestNode", "RegtestServer", "RejectKind", "Rejected"]
