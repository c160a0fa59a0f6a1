"""Public tools to test an application on: an embedded regtest chain (`regtest`), and a simulator of whole networks from
a seed (`simulator.Simulator`)."""
