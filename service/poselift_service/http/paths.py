"""Paths with a meaning beyond their own route: probes, the page, documentation and administration."""

from starlette.types import Scope

LIVENESS = ("/healthz", "/v2/health/live")
READINESS = ("/readyz", "/v2/health/ready")
# Polled every few seconds by orchestrators, so they leave no trace.
PROBES = frozenset((*LIVENESS, *READINESS))
ADMIN = "/admin"
# The files of the page, and of the description of the interface.
PAGE, DOCS = "/page/", "/docs/"
# Need no API key: probes, the page, and the description of the interface.
PUBLIC_PATHS = PROBES.union(("/", "/docs", "/openapi.json"))


def path_of(scope: Scope) -> str:
    """The path of a request, without the prefix under which a proxy serves the interface."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
