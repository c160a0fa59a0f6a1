"""A Lightning Network library and routing node with LDK's components and contracts."""

__version__ = "0.1.0"
