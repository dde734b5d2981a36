"""What HTTP and gRPC share: keys, TLS, limits of connections, and streams."""
