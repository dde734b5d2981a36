"""Serve with the settings of the environment: `POSELIFT_PORT=9000 python -m poselift_service`.

Tiny variant for a first look:
`POSELIFT_THREADS=1 POSELIFT_GRPC_PORT=0 POSELIFT_METRICS_PORT=0 python -m poselift_service`.
"""

import logging
import os
import signal
import sys
from typing import Any

from pydantic import ValidationError

from poselift_service.settings import Settings, explain
from poselift_service.telemetry import logs

# Not by __name__, which is __main__ when this file is run.
logger = logging.getLogger("poselift_service")


def main(**given: Any) -> int:
    """Serve with the settings of the environment, and over them those `given` by name. Returns the exit code."""
    try:
        settings = Settings(**given)
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    # OpenMP reads this once, when torch is loaded. Its default is to spin until the next parallel region, and spinning
    # threads starve the event loop, and each other as soon as anything else wants the processor: with two threads on
    # two busy cores, batches of 64 windows ran at 12 poses/s, against 63 when waiting is passive, 38 with a short spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Likewise: grpc's core would write lines of its own to standard error, about every client that breaks a rule.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logs.configure(settings.log_level, settings.log_format)
    logger.info("starting")  # loading torch takes seconds
    from poselift_service.server import serve

    return serve(settings)


if __name__ == "__main__":
    # The first process of a container ignores SIGTERM until it says what to do; the server does once it runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
