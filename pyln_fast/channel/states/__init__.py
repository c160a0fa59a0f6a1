"""One file a state. Each has a table, HANDLERS: from the type of an input to the function that handles it.

An input that is not in a state's table is refused by name (channel.py).
"""
