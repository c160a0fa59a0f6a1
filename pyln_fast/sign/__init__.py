"""Keys and signers: LDK's EntropySource, NodeSigner, SignerProvider and the in-memory implementations."""
