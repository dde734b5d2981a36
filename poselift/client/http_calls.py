"""Calls over HTTP, in JSON, repeated where that may help."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from poselift.client.endpoint import Endpoint
from poselift.client.errors import ApiError, error_of_response, timed_out, unreachable
from poselift.client.retries import TEMPORARY_CODES, Backoff


class HttpCalls:
    """A pool of connections to the HTTP port."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # The time limit is that of the whole call, not of one of its steps.
        self._client = httpx.AsyncClient(headers=endpoint.headers, verify=endpoint.ssl_context or False, timeout=None)

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float,
        attempt_s: float | None = None,
        **params: int,
    ) -> Any:
        """Send a request until it succeeds, it is pointless, or time is up; returns the body of the answer.

        Args:
            timeout_s: time for all attempts.
            attempt_s: time for one of them; `timeout_s` if None.
        Raises:
            ApiError: the last attempt failed.
        """
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        clock = asyncio.get_running_loop().time
        deadline, backoff = clock() + timeout_s, Backoff()
        while True:
            limit = deadline if attempt_s is None else min(deadline, clock() + attempt_s)
            try:
                async with asyncio.timeout_at(limit):
                    return await self._send(method, path, content, params)
            except TimeoutError as error:
                if clock() >= deadline:
                    raise timed_out(timeout_s) from error
            except ApiError as error:
                pause_s = backoff.next_pause_s(error.retry_after_s)
                if error.code not in TEMPORARY_CODES or clock() + pause_s >= deadline:
                    raise
                await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _send(self, method: str, path: str, content: bytes | None, params: Mapping[str, int]) -> Any:
        headers = {} if content is None else {"content-type": "application/json"}
        url = self._endpoint.http_url(path)
        try:
            response = await self._client.request(method, url, content=content, params=params, headers=headers)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        try:
            document = response.json()
        except ValueError:
            document = None
        if not response.is_success:
            raise error_of_response(response.status_code, response.headers, document)
        return document
