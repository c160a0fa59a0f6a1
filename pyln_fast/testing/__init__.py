"""Public tools to test an application on.

`regtest`: an embedded regtest chain with Bitcoin Core's JSON-RPC. `simulator.Simulator`: whole networks of nodes from a
seed, with crashes, lost links, reorganisations and an adversary; `shrink` makes what fails there small.
`scenario.Scenario`: the same networks, moved by a test.
"""
