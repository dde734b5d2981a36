"""Bytes to requests and results to bytes, without any transport."""
