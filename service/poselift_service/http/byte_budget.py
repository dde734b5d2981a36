"""Counts the bodies of HTTP requests against the budget of all transports."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poselift_service.transport.byte_budget import ByteBudget


class ByteBudgetMiddleware:
    """Counts each piece of a body as it is read, until the request is answered; WebSockets count their own messages."""

    def __init__(self, app: ASGIApp, *, budget: ByteBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hold = self._budget.hold()

        async def receive_counted() -> Message:
            message = await receive()
            if body := message.get("body"):
                hold.grow(len(body))
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            hold.release()
