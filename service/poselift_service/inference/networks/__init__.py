"""The libraries that run a network, and the choice between them."""
