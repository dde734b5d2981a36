"""The least that a gRPC server in Python can do: it answers every message of a stream with the same bytes.

python -m tests.benchmarks.serving.echo PORT
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import uvloop

METHOD = "/bare.Echo/Stream"


async def echo(messages: AsyncIterator[bytes], context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


@contextmanager
def running(port: int) -> Iterator[None]:
    """Start the server as a process."""
    command = [sys.executable, "-m", "tests.benchmarks.serving.echo", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.kill()


async def serve(port: int) -> None:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Echo", {"Stream": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
