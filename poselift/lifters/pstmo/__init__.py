"""P-STMO."""
