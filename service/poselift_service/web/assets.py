"""The files of the page and of the API's documentation, as they are answered to a browser."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_FOLDER = Path(__file__).parent
_OF_WEBCAM = _FOLDER / "webcam"
_DETECTOR = _FOLDER / "mediapipe"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
INDEX, DOCS = "index.html", "docs.html"
_OF_DOCS = (DOCS, "docs.js")
_FROM_PACKAGE = ("favicon.png", "swagger-ui-bundle.js", "swagger-ui.css")
_OF_DETECTOR = {".js": _MEDIA_TYPES[".js"], ".wasm": "application/wasm"}


def _headers(policy: str, scripts: str = "'self'") -> dict[str, str]:
    return {
        # Asked for again each time, and answered with 304 unless the server was upgraded meanwhile.
        "cache-control": "no-cache",
        "content-security-policy": f"default-src 'none'; script-src {scripts}; connect-src 'self'; {policy}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "no-referrer",
    }


HEADERS = _headers("style-src 'self'; img-src 'self'")
"""Of every file of the page: nothing from elsewhere, nothing inline."""
DOCS_HEADERS = _headers("style-src 'self' 'unsafe-inline'; img-src 'self' data:")
"""Of those of the documentation, whose program sets styles in its elements."""
WEBCAM_HEADERS = _headers("style-src 'self'; img-src 'self'", "'self' 'wasm-unsafe-eval'")
"""Of those for webcams. A worker has the policy of its own file: the detector may compile WebAssembly, the page not."""


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        etag: changes with the content.
    """

    content: bytes
    media_type: str
    etag: str


@cache
def page_assets() -> Mapping[str, Asset]:
    """The files of the page by name; it asks for them under `page/`."""
    paths = (path for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES and path.name not in _OF_DOCS)
    return {path.name: _asset(path) for path in sorted(paths)}


@cache
def webcam_assets() -> Mapping[str, Asset]:
    """The programs for webcams by name."""
    return {path.name: _asset(path) for path in sorted(_OF_WEBCAM.glob("*.js"))}


def detector_files() -> Mapping[str, tuple[Path, str]]:
    """The files of the detector in the browser and their media types, by name; none before `make web`."""
    paths = sorted(_DETECTOR.iterdir()) if _DETECTOR.is_dir() else []
    return {path.name: (path, _OF_DETECTOR.get(path.suffix, "application/octet-stream")) for path in paths}


@cache
def docs_assets() -> Mapping[str, Asset]:
    """The files of the documentation by name: Swagger UI is that of the package fastapi-offline."""
    found = find_spec("fastapi_offline")
    assert found is not None, "a dependency of the server"
    assert found.origin is not None
    static = Path(found.origin).parent / "static"
    paths = [*(_FOLDER / name for name in _OF_DOCS), *(static / name for name in _FROM_PACKAGE)]
    return {path.name: _asset(path) for path in paths}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
