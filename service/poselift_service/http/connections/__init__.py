"""Connections below HTTP requests: their limits, pipelining, WebSocket frames, and turns on the event loop."""
