"""`poselift serve`: start the server."""

from typing import Annotated

import typer


def serve(
    models: Annotated[
        str | None, typer.Option("--models", help="Model repository: a folder or an address like s3://bucket/prefix.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP interface.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of the gRPC interface; 0 disables it.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the metrics; 0 disables it.")] = None,
) -> None:
    """Start the server. Options that are not given come from the environment (POSELIFT_PORT, ...) or are defaults."""
    from poselift_service.__main__ import main as run

    given = {"models": models, "host": host, "port": port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    raise typer.Exit(run(**{name: value for name, value in given.items() if value is not None}))
