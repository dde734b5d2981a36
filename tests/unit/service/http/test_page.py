"""The page and the documentation: public files, nothing from elsewhere, and a switch for each."""

import re
from pathlib import Path

import httpx
import pytest
from poselift_service.web import assets
from poselift_service.web.assets import docs_assets, page_assets, webcam_assets

from tests.unit.service.conftest import Serving
from tests.unit.service.http.conftest import app_of, client_of

MAX_PAGE_BYTES = 175_000
ELSEWHERE = re.compile(r"(?:https?:)?//[\w-]+\.[\w.-]+")
# A name of XML, and an example in a comment: nobody asks for them.
NOT_ASKED_FOR = {"http://www.w3.org", "http://127.0.0.1"}


async def test_the_page_and_all_its_files_need_no_key(protected: tuple[httpx.AsyncClient, str]):
    client, _ = protected
    page = await client.get("/")
    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    asked = set(re.findall(r"""(?:src|href)="(page/[^"#]+)""", page.text))
    assert {"page/app.js", "page/style.css"} <= asked
    for name in page_assets():
        assert (await client.get(f"/page/{name}")).status_code == 200
    assert asked <= {f"page/{name}" for name in page_assets()}
    assert (await client.get("/models")).status_code == 401


async def test_a_file_that_a_browser_has_is_not_sent_again(client: httpx.AsyncClient):
    first = await client.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/page/app.js", headers={"if-none-match": '"other"'})).status_code == 200


@pytest.mark.parametrize("name", ["assets.py", "README.md", "docs.html", "..%2fsettings.py", "%2e%2e/settings.py"])
async def test_nothing_else_in_the_folder_is_served(client: httpx.AsyncClient, name: str):
    assert (await client.get(f"/page/{name}")).status_code == 404


async def test_page_and_documentation_can_be_switched_off(serving: Serving):
    async with client_of(app_of(serving, page=False)) as client:
        assert [(await client.get(path)).status_code for path in ("/", "/page/app.js", "/docs")] == [404, 404, 200]
        assert (await client.post("/lift/file", content=b"{}")).status_code == 404


async def test_the_documentation_has_all_its_files(client: httpx.AsyncClient):
    page = await client.get("/docs")
    asked = re.findall(r"""(?:src|href)="(docs/[^"]+)""", page.text)
    assert len(asked) == 4
    for path in asked:
        assert (await client.get(f"/{path}")).status_code == 200
    assert set(asked) == {f"docs/{name}" for name in docs_assets() if name != "docs.html"}


async def test_only_files_for_webcams_may_compile_webassembly(client: httpx.AsyncClient):
    for name in webcam_assets():
        answer = await client.get(f"/page/webcam/{name}")
        assert answer.status_code == 200
        assert "script-src 'self' 'wasm-unsafe-eval';" in answer.headers["content-security-policy"]
    assert (await client.get("/page/webcam/..%2fassets.py")).status_code == 404


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("pose.js", "text/javascript"), ("a.wasm", "application/wasm"), ("a.tflite", "application/octet-stream")],
)
async def test_the_detector_is_served_once_it_is_there(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, media_type: str
):
    monkeypatch.setattr(assets, "_DETECTOR", tmp_path / "mediapipe")
    assert (await client.get("/page/webcam/webcam.json")).json() == {"detector": False}
    assert (await client.get(f"/page/mediapipe/{name}")).status_code == 404
    (tmp_path / "mediapipe").mkdir()
    (tmp_path / "mediapipe" / name).write_bytes(b"content")
    assert (await client.get("/page/webcam/webcam.json")).json() == {"detector": name == "pose.js"}
    answer = await client.get(f"/page/mediapipe/{name}")
    assert (answer.content, answer.headers["content-type"].partition(";")[0]) == (b"content", media_type)
    again = await client.get(f"/page/mediapipe/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.get("/page/mediapipe/..%2f..%2fassets.py")).status_code == 404


def test_the_page_is_small():
    assert sum(len(asset.content) for asset in page_assets().values()) < MAX_PAGE_BYTES


@pytest.mark.parametrize("name", [*page_assets(), *webcam_assets()])
def test_the_page_names_no_other_host(name: str):
    text = {**page_assets(), **webcam_assets()}[name].content.decode()
    assert set(ELSEWHERE.findall(text)) <= NOT_ASKED_FOR


@pytest.mark.parametrize("name", [name for name in page_assets() if name.endswith((".js", ".html"))])
def test_scripts_import_files_of_the_page_only(name: str):
    text = page_assets()[name].content.decode()
    imported = set(re.findall(r"""from "([^"]+)";""", text))
    assert imported <= {f"./{other}" for other in page_assets()}
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", text) or name.endswith(".js")


@pytest.mark.parametrize("name", [name for name in webcam_assets() if name.endswith(".js")])
def test_scripts_for_webcams_import_files_of_the_page_only(name: str):
    imported = set(re.findall(r"""from "([^"]+)";""", webcam_assets()[name].content.decode()))
    assert imported <= {f"./{other}" for other in webcam_assets()} | {f"../{other}" for other in page_assets()}
