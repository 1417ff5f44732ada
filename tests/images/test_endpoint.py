"""Images over HTTP: uploads of the operator, their refusals and bounds, and what every reader gets."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from api.images.endpoint import MAX_UPLOAD, MOST_UPLOADS
from api.images.formats import InvalidImage
from api.images.store import PIECE, ImageStore, StoreFull
from api.settings import read_settings
from tests.images.pictures import AVIF, JPEG, PNG, WEBP
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server, serving

LARGE = PNG + bytes(range(256)) * 1_000
"""Readers of PNG ignore what is behind its end."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "images"


@pytest.fixture(scope="module")
async def server(shared_server: Server, folder: Path) -> AsyncIterator[Server]:
    async with serving(replace(shared_server.settings, image_folder=folder)) as server:
        yield server


async def upload(
    server: Server, content: Any, token: str | None = ADMIN_TOKEN, content_type: str = "image/png"
) -> tuple[int, str, ClientResponse]:
    """Send an image. Returns the status and the text of the answer, and the answer."""
    body = BytesIO(content) if isinstance(content, bytes) else content
    headers = {"content-type": content_type} | ({"authorization": f"Bearer {token}"} if token else {})
    async with server.session.post(f"{server.url}/images", data=body, headers=headers) as response:
        return response.status, await response.text(), response


async def uploaded(server: Server, content: bytes, **more: str) -> dict[str, Any]:
    status, text, response = await upload(server, content, **more)
    assert status == 201, text
    image: dict[str, Any] = await response.json()
    return image


@pytest.mark.parametrize(
    ("content", "ending", "media_type"),
    [
        (PNG, "png", "image/png"),
        (JPEG, "jpg", "image/jpeg"),
        (WEBP, "webp", "image/webp"),
        (AVIF, "avif", "image/avif"),
        (LARGE, "png", "image/png"),
    ],
    ids=["png", "jpeg", "webp", "avif", "large"],
)
async def test_an_image_is_kept_and_sent_as_it_is_whatever_its_sender_claims(
    server: Server, folder: Path, content: bytes, ending: str, media_type: str
) -> None:
    name = f"{hashlib.sha256(content).hexdigest()}.{ending}"
    expected = {"url": f"/images/{name}", "width": 3, "height": 2}
    assert await uploaded(server, content, content_type="image/gif") == expected
    assert await uploaded(server, content) == expected
    assert [kept for kept in os.listdir(folder) if kept.startswith(name[:64])] == [name]

    async with server.session.get(f"{server.url}/images/{name}") as response:
        assert (response.status, await response.read() == content) == (200, True)
    headers = response.headers
    assert headers["content-type"] == media_type
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers.getall("x-content-type-options") == ["nosniff"]
    async with server.session.head(f"{server.url}/images/{name}") as head:
        assert (head.status, await head.read()) == (200, b"")
        assert {**head.headers, "date": ""} == {**headers, "date": ""}
    known = {"if-none-match": headers["etag"]}
    async with server.session.get(f"{server.url}/images/{name}", headers=known) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_an_uploaded_image_is_of_a_product(server: Server) -> None:
    image = {**await uploaded(server, WEBP), "alt": "A tee"}
    product_id = await server.create_product(images=[image])
    read = "query ($id: ID!) { product(id: $id) { images { url alt width height } } }"
    assert await server.data(read, {"id": product_id}) == {"product": {"images": [image]}}


@pytest.mark.parametrize(
    ("content", "more", "status", "message"),
    [
        (PNG, {"token": None}, 401, "this is for the operator"),
        (PNG, {"token": "another-token-of-nobody"}, 401, ""),
        (PNG, {"content_type": "application/json"}, 415, "send the image itself as the body, with a content-type"),
        (
            b"<svg onload='alert(1)'/>",
            {},
            415,
            "send an image as PNG, JPEG, WebP or AVIF; an SVG file can have scripts",
        ),
        (PNG[:16], {}, 415, "damaged"),
        (b"", {}, 415, "send an image as"),
        (bytes(MAX_UPLOAD + 1), {}, 413, f"the body is too large; {MAX_UPLOAD} bytes are allowed"),
    ],
    ids=["anonymous", "stranger", "json", "svg", "damaged", "empty", "large"],
)
async def test_an_upload_is_refused_with_what_to_send(
    server: Server, folder: Path, content: Any, more: dict[str, Any], status: int, message: str
) -> None:
    await uploaded(server, PNG)
    before = os.listdir(folder)
    answered, text, _ = await upload(server, content, **more)
    assert (answered, message in text) == (status, True), text
    assert os.listdir(folder) == before


@pytest.mark.parametrize(
    "path",
    [
        *("x.png", f"{'0' * 64}.png", f"{'0' * 64}.svg", ".upload-00", "..%2foperator-token", "%2e%2e/operator-token"),
        "..%00.png",
    ],
)
async def test_only_exact_names_of_images_are_found(server: Server, folder: Path, path: str) -> None:
    await uploaded(server, PNG)
    (folder / "x.png").write_bytes(PNG)
    (folder / ".upload-00").write_bytes(PNG)
    (folder.parent / "operator-token").write_text("secret")
    async with server.session.get(f"{server.url}/images/{path}") as response:
        assert response.status == 404
        assert "secret" not in await response.text()


async def test_a_few_uploads_are_under_way_at_a_time_and_one_that_ends_early_makes_room(server: Server) -> None:
    begun: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield PNG
        begun.append(1)
        await asyncio.Event().wait()

    async def refused() -> bool:
        status, _, response = await upload(server, PNG)
        assert status in (201, 503)
        assert status == 201 or int(response.headers["retry-after"]) > 0
        return status == 503

    under_way = [asyncio.create_task(upload(server, endless())) for _ in range(MOST_UPLOADS)]
    await until(lambda: len(begun) == MOST_UPLOADS)
    while not await refused():
        pass
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    while await refused():
        pass


async def test_with_endpoints_images_are_in_a_storage_of_ones_own(server: Server) -> None:
    endpoints = {"DROPZERO_ENDPOINTS": "here=postgresql://ada@db.example/shop"}
    image_folder = read_settings(endpoints).image_folder
    async with serving(replace(server.settings, image_folder=image_folder)) as closed:
        status, text, _ = await upload(closed, PNG)
        assert (status, "name it by its URL, such as https://" in text) == (403, True)
        async with closed.session.get(closed.url + (await uploaded(server, PNG))["url"]) as response:
            assert response.status == 404


async def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    async with serving(replace(server.settings, image_folder=tmp_path / "images")) as broken:
        status, text, _ = await upload(broken, PNG)
        assert (status, "see DROPZERO_DATA" in text) == (507, True)


def test_all_images_together_are_bounded(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", max_stored=len(PNG) + len(WEBP), max_files=2)
    names = [store.add(content).name for content in (PNG, WEBP, PNG)]
    assert names[0] == names[2]
    for content in (JPEG, AVIF):
        with pytest.raises(StoreFull, match=r"has 2 images of \d+ bytes in all.*delete those that no product has"):
            store.add(content)
    (tmp_path / "images" / names[0]).unlink()
    with pytest.raises(StoreFull):
        store.add(AVIF)  # few enough, but too large
    with pytest.raises(InvalidImage):
        store.add(b"")
    assert [path.name for path in (tmp_path / "images").iterdir()] == [names[1]]


def test_what_a_killed_process_has_left_is_removed_later(tmp_path: Path) -> None:
    fresh, old = (tmp_path / f".upload-{name}" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(PNG)
    os.utime(old, (0, 0))
    name = ImageStore(tmp_path).add(PNG).name
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, name}


def test_a_large_image_is_read_in_pieces(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    name = store.add(LARGE).name
    pieces = [store.read(name, offset) for offset in range(0, store.size(name), PIECE)]
    assert b"".join(pieces) == LARGE
    assert {len(piece) for piece in pieces[:-1]} == {PIECE}
