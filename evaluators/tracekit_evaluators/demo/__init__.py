"""The demo: an agent that answers questions about the standard library, in two versions that are compared."""
