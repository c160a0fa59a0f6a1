"""A channel as a pure function: (state, message or command, context) → Transition(state, actions)."""
