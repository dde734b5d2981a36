"""A server that speaks S3, as a process of its own. It keeps everything in its memory."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

START_S = 60.0
# The server takes any; the client insists on having some.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def running_s3() -> Iterator[dict[str, str]]:
    """Start a server on a free port; gives the environment in which a client finds it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    giving_up = threading.Timer(START_S, process.kill)
    giving_up.start()
    try:
        assert process.stderr is not None
        said = (re.search(r"Running on (http://127\.0\.0\.1:\d+)", line) for line in process.stderr)
        address = next((match[1] for match in said if match), None)
        giving_up.cancel()
        assert address is not None, "the server did not start"
        # It says more with every request, and must not have to wait for a reader.
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": address}
    finally:
        giving_up.cancel()
        process.kill()
        process.wait()
        if process.stderr is not None:
            reader.join()
            process.stderr.close()
