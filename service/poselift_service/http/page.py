"""The page at `/` with its files under `/page/`, and the documentation at `/docs` with those under `/docs/`."""

from collections.abc import Callable, Mapping

from fastapi import FastAPI, HTTPException, Request, Response

from poselift_service.http.paths import DOCS, PAGE
from poselift_service.web import assets
from poselift_service.web.assets import Asset


def add_page(app: FastAPI) -> None:
    """Add the page to the HTTP interface. It needs no API key: the calls that it makes do."""
    _add_files(app, "/", f"{PAGE}{{name}}", assets.page_assets, assets.INDEX, assets.HEADERS)


def add_docs(app: FastAPI) -> None:
    """Add the documentation that people read to the HTTP interface; it asks for `/openapi.json`."""
    _add_files(app, "/docs", f"{DOCS}{{name}}", assets.docs_assets, assets.DOCS, assets.DOCS_HEADERS)


def _add_files(
    app: FastAPI,
    index_path: str,
    path: str,
    files: Callable[[], Mapping[str, Asset]],
    index: str,
    headers: dict[str, str],
) -> None:
    """Add one document and the files that it asks for."""

    def answer(request: Request, asset: Asset) -> Response:
        own = {**headers, "etag": asset.etag}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=own)
        return Response(asset.content, media_type=asset.media_type, headers=own)

    @app.get(index_path, include_in_schema=False)
    async def document(request: Request) -> Response:
        return answer(request, files()[index])

    @app.get(path, include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        asset = files().get(name)
        if asset is None:
            raise HTTPException(404, "There is no such file.")
        return answer(request, asset)
