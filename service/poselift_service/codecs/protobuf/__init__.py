"""The contract in protobuf."""
