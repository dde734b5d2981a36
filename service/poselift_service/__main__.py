"""Serve with settings from the environment: `POSELIFT_PORT=9000 python -m poselift_service`.

A small variant to try:
`POSELIFT_THREADS=1 POSELIFT_GRPC_PORT=0 POSELIFT_METRICS_PORT=0 python -m poselift_service`.
"""

import logging
import os
import signal
import sys
from typing import Any

from pydantic import ValidationError

from poselift_service.settings import Settings, explain, unknown_variable
from poselift_service.telemetry import logs

# Not by __name__, which is __main__ when this file is run.
logger = logging.getLogger("poselift_service")


def main(**overrides: Any) -> int:
    """Serve until stopped.

    Args:
        overrides: settings by name, which take precedence over the environment.
    Returns:
        The exit code, as of `server.serve`.
    """
    if (complaint := unknown_variable(os.environ)) is not None:
        sys.stderr.write(f"{complaint}\n")
        return 2
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    # OpenMP reads this once, when torch is loaded. By default its threads spin until the next parallel region, which
    # starves the event loop, and the threads themselves once anything else needs the processor: with two threads on two
    # busy cores, batches of 64 windows ran at 12 poses/s, against 63 with passive waiting and 38 with a short spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Also read once. By default gRPC's core writes to standard error about every client that violates the protocol.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logs.configure(settings.log_level, settings.log_format)
    logger.info("starting")  # loading torch takes seconds
    from poselift_service.server import serve

    return serve(settings)


if __name__ == "__main__":
    # The first process of a container ignores SIGTERM without a handler; the server installs its own once it runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
