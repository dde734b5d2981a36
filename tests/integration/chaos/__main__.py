"""Kills and suspends everything while people are streamed: nothing may be lost, doubled, or wrong.

python -m tests.integration.chaos
Tiny variant: python -m tests.integration.chaos --kind single --minutes 0.5

Three replicas share a Redis: a single server, one behind three Sentinels, or a cluster. Replicas, Redis servers and
Sentinels are killed (SIGKILL) and suspended (SIGSTOP, SIGCONT) at random, and start again. Clients stream people over
every transport, lift clips, and load and unload a version of the model meanwhile. The faults follow from the seed; what
they meet does not.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.integration.chaos.redis_kinds import KINDS
from tests.integration.chaos.run import run
from tests.integration.conftest import publish_random_models


def main() -> int:
    """Returns 1 if anything happened that must not."""
    options = argparse.ArgumentParser(prog="tests.integration.chaos", description="Kill and suspend everything.")
    options.add_argument("--kind", choices=KINDS, action="append", help="kind of Redis; all of them by default")
    options.add_argument("--minutes", type=float, default=20.0, help="for each kind")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--keep", type=Path, help="new folder to keep the logs of all processes in")
    given = options.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as place:
        folder = given.keep or Path(place)
        publish_random_models(folder / "models")
        for kind in given.kind or KINDS:
            home = folder / kind
            home.mkdir()

            def tell(line: str, kind: str = kind) -> None:
                sys.stdout.write(f"{kind} {line}\n")
                sys.stdout.flush()

            tell(f"begins, seed {given.seed}")
            tally = run(
                kind, seconds=60 * given.minutes, seed=given.seed, models=folder / "models", folder=home, tell=tell
            )
            tell(f"with seed {given.seed} for {given.minutes:g} minutes\n{tally}")
            failed = failed or bool(tally.violations)
    return int(failed)


if __name__ == "__main__":
    # All processes are ended in both cases, also when a shell in the background has SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
