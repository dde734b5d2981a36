"""What HTTP and gRPC share."""
