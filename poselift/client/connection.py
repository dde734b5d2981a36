"""What a stream is sent over."""

from typing import Protocol

from poselift.client.answers import StreamAnswer
from poselift.client.conversation import Message


class Connection(Protocol):
    """One connection of a session. Whatever fails is an ApiError, after which it can only be dropped."""

    async def send(self, message: Message) -> None:
        """Send a message; more may be sent before its answer."""

    async def receive(self) -> StreamAnswer:
        """The answer to the oldest message without one."""

    async def drop(self) -> None:
        """End the connection at once; the session goes on."""
