"""The page on this machine alone, for one result: a small server that runs until it is interrupted."""

import webbrowser
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import typer

_HOST = "127.0.0.1"


class File(NamedTuple):
    """What is answered to a path."""

    content: bytes
    media_type: str


def show_page(document: bytes, saved: Mapping[str, Callable[[], bytes]], *, port: int, browser: bool) -> None:
    """Serve the page with a document of poses until Ctrl-C.

    Args:
        document: what the page asks for as `result.json`.
        saved: makes the file of each form that poses can be saved in.
        port: to listen on; 0 for a free one.
        browser: whether to open the page in a browser.
    Raises:
        ModuleNotFoundError: the page is not installed.
        OSError: the port is taken.
    """
    from poselift_service.web import assets

    files = {f"/page/{name}": File(asset.content, asset.media_type) for name, asset in assets.page_assets().items()}
    files["/"] = files[f"/page/{assets.INDEX}"]
    files["/result.json"] = File(document, "application/json")

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host, path = self.headers.get("host", ""), self.path.partition("?")[0]
            file = files.get(path)
            if path.startswith("/save/") and (make := saved.get(path.removeprefix("/save/"))) is not None:
                file = File(make(), "application/octet-stream")
            if host.rpartition(":")[0] not in (_HOST, "localhost"):  # a web site that has given its name this address
                file = None
            if file is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            headers = {**assets.HEADERS, "content-type": file.media_type, "content-length": str(len(file.content))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(file.content)

        def log_message(self, *_: object) -> None:
            """Say nothing about requests."""

    with ThreadingHTTPServer((_HOST, port), Answer) as server:
        server.daemon_threads = True
        address = f"http://{_HOST}:{server.server_port}/#result"
        typer.echo(f"poselift: the poses are shown at {address} until Ctrl-C.", err=True)
        if browser:
            webbrowser.open(address)
        server.serve_forever()
