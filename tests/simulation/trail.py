"""What happened in a schedule, for people who look for the cause of a violation."""

import asyncio
import zlib


class Trail:
    """Records events: as text if wanted, and always as a checksum, by which two runs are compared."""

    def __init__(self, *, keeps_text: bool = False) -> None:
        self.lines: list[str] | None = [] if keeps_text else None
        self.checksum = 0
        self._has_ended = False

    def end(self) -> None:
        """Record nothing more: what is left of a schedule is cancelled in no particular order."""
        self._has_ended = True

    def note(self, *event: object) -> None:
        if self._has_ended:
            return
        line = f"{asyncio.get_running_loop().time():10.4f}  {' '.join(map(str, event))}"
        self.checksum = zlib.crc32(line.encode(), self.checksum)
        if self.lines is not None:
            self.lines.append(line)
