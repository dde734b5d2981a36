"""The contract in JSON."""
