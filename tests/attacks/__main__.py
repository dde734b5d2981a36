"""Attacks servers on the loopback interface, one attack after the other, while somebody else is served.

    python -m tests.attacks
    python -m tests.attacks --only WebSocket --only "gRPC: reflection"     # names, or what they begin with
    python -m tests.attacks --tree ../older                                # the server of another checkout
    python -m tests.attacks --list

Each attack takes a few seconds, at a bounded rate, from processes of its own. Meanwhile a victim asks for the health of
the server every 20 ms and lifts a frame every 50 ms, in turns through a live session and by POST. The servers have the
default settings, torch and one thread; each rests for a minute after an attack while others are attacked. Prints a
table: the longest stall of a health check and the 99th percentile of the victim's frames, both with what they were in
the seconds before the attack, and the memory of the server before the attack, at its peak, and a minute later. All
results also go to a file, one JSON object a line.

The command fails when an attack misses a goal that was not missed before it began: no stall above 150 ms, frames of the
victim within 250 ms, none of them refused, and memory back within 5 %.
"""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.attacks.plan import attacks
from tests.attacks.report import Report
from tests.attacks.rotation import Rotation

_REPOSITORY = Path(__file__).parents[2]


def main() -> int:
    """Run the command. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="attacks whose names begin so")
    parser.add_argument("--list", action="store_true", help="print the names of all attacks")
    parser.add_argument("--tree", type=Path, default=_REPOSITORY, help="checkout whose server is attacked")
    parser.add_argument("--seconds", type=float, default=2.5, help="duration of an attack")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds until memory is measured again")
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--json", type=Path, default=Path("build/attacks.jsonl"), help="file for the results")
    options = parser.parse_args()
    chosen = [attack for attack in attacks() if not options.only or attack.name.startswith(tuple(options.only))]
    if options.list or not chosen:
        sys.stdout.write("\n".join(attack.name for attack in chosen or attacks()) + "\n")
        return not chosen
    options.json.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended
    with tempfile.TemporaryDirectory(prefix="attacks-") as logs, options.json.open("w") as lines:
        report = Report()
        rotation = Rotation(options.tree.resolve(), Path(logs), min(options.servers, len(chosen)), rest_s=options.rest)
        for result in rotation.carry_out(chosen, options.seconds):
            report.show(result)
            lines.write(json.dumps(dataclasses.asdict(result)) + "\n")
            lines.flush()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
