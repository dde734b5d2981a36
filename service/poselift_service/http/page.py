"""The page at `/` with its files under `/page/`, and the documentation at `/docs` with those under `/docs/`."""

import json
from collections.abc import Callable, Mapping
from functools import cache

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from poselift_service.http.paths import DOCS, PAGE
from poselift_service.web import assets
from poselift_service.web.assets import Asset


def add_page(app: FastAPI) -> None:
    """Add the page to the HTTP interface. It needs no API key: the calls that it makes do."""
    _add_document(app, "/", assets.page_assets, assets.INDEX, assets.HEADERS)
    _add_files(app, PAGE, assets.page_assets, assets.HEADERS)
    _add_detector(app)
    _add_files(app, f"{PAGE}webcam/", assets.webcam_assets, assets.WEBCAM_HEADERS)


def add_docs(app: FastAPI) -> None:
    """Add the documentation to the HTTP interface: for people, and for programs as `/openapi.json`."""
    _add_document(app, "/docs", assets.docs_assets, assets.DOCS, assets.DOCS_HEADERS)
    _add_files(app, DOCS, assets.docs_assets, assets.DOCS_HEADERS)
    _add_openapi(app)


def _add_openapi(app: FastAPI) -> None:
    # FastAPI's own route serializes the document for every request, which holds the event loop for milliseconds.
    @cache
    def serialized(root_path: str) -> bytes:
        servers = {"servers": [{"url": root_path}]} if root_path else {}
        return json.dumps({**app.openapi(), **servers}, ensure_ascii=False, separators=(",", ":")).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        return Response(serialized(request.scope.get("root_path", "")), media_type="application/json")


def _add_document(
    app: FastAPI, path: str, files: Callable[[], Mapping[str, Asset]], name: str, headers: dict[str, str]
) -> None:
    @app.get(path, include_in_schema=False)
    async def document(request: Request) -> Response:
        return _answer(request, files()[name], headers)


def _add_files(app: FastAPI, folder: str, files: Callable[[], Mapping[str, Asset]], headers: dict[str, str]) -> None:
    @app.get(f"{folder}{{name}}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        asset = files().get(name)
        if asset is None:
            raise HTTPException(404, "There is no such file.")
        return _answer(request, asset, headers)


def _add_detector(app: FastAPI) -> None:
    """Add the files of MediaPipe, and the answer whether there are any: `make web` may bring them at any time.

    They have megabytes each, so they are read as they are sent, and kept in no memory.
    """

    @app.get(f"{PAGE}webcam/webcam.json", include_in_schema=False)
    def has_detector() -> Response:
        return JSONResponse({"detector": "pose.js" in assets.detector_files()}, headers=assets.WEBCAM_HEADERS)

    @app.get(f"{PAGE}mediapipe/{{name}}", include_in_schema=False)
    def detector(request: Request, name: str) -> Response:
        path, media_type = assets.detector_files().get(name, (None, ""))
        if path is None:
            raise HTTPException(404, "There is no such file.")
        status = path.stat()
        own = {**assets.WEBCAM_HEADERS, "etag": f'"{status.st_mtime_ns:x}-{status.st_size:x}"'}
        if _is_known(request, own["etag"]):
            return Response(status_code=304, headers=own)
        return FileResponse(path, media_type=media_type, headers=own, stat_result=status)


def _answer(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    own = {**headers, "etag": asset.etag}
    if _is_known(request, asset.etag):
        return Response(status_code=304, headers=own)
    return Response(asset.content, media_type=asset.media_type, headers=own)


def _is_known(request: Request, etag: str) -> bool:
    return etag in request.headers.get("if-none-match", "")
