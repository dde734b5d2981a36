"""Paths with a meaning beyond their own route: probes, documentation and administration."""

from starlette.types import Scope

LIVENESS = ("/healthz", "/v2/health/live")
READINESS = ("/readyz", "/v2/health/ready")
# Polled every few seconds by orchestrators, so they leave no trace.
PROBES = frozenset((*LIVENESS, *READINESS))
ADMIN = "/admin"
# Need no API key: probes, and the description of the interface.
PUBLIC_PATHS = PROBES.union(("/docs", "/docs/oauth2-redirect", "/openapi.json"))


def path_of(scope: Scope) -> str:
    """The path of a request, without the prefix under which a proxy serves the interface."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
