"""Everything that knows FastAPI, uvicorn and WebSocket."""
