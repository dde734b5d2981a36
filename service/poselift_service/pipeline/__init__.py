"""From a validated request to poses."""
