"""Public tools to test an application on: an embedded regtest chain (`regtest`)."""
