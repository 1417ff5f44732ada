"""Pages and files, as they are and compressed: two representations, each with an ETag of its own."""

import asyncio
import gzip
import shutil
import subprocess

import pytest

from tests.patience import PATIENCE
from tests.protocol.raw import Answer, connection_to, request
from tests.server import Server

PAGE, FILE = "/?lang=en", "/static/drop.js"
GZIP = b"Accept-Encoding: gzip, deflate, br"


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def get(server: Server, address: str, *headers: bytes) -> Answer:
    async with connection_to(server) as connection:
        await connection.send(request(b"GET %s HTTP/1.1" % address.encode(), *headers))
        return await connection.answer()


@pytest.mark.parametrize("address", [PAGE, FILE, "/static/storefront.css", "/architecture", "/drop/none?lang=ja"])
async def test_pages_and_files_are_compressed_for_clients_that_take_it(server: Server, address: str) -> None:
    plain, compressed = await get(server, address), await get(server, address, GZIP)

    assert gzip.decompress(compressed.body) == plain.body
    assert len(compressed.body) < len(plain.body) / 2
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"] == compressed.headers["content-type"]
    assert plain.headers["vary"] == compressed.headers["vary"]
    assert "accept-encoding" in plain.headers["vary"].split(", ")
    assert plain.headers["etag"] != compressed.headers["etag"]


@pytest.mark.parametrize("address", [PAGE, FILE])
async def test_each_representation_is_confirmed_by_its_own_etag(server: Server, address: str) -> None:
    plain, compressed = await get(server, address), await get(server, address, GZIP)
    of_plain, of_compressed = (b"If-None-Match: " + answer.headers["etag"].encode() for answer in (plain, compressed))

    for headers, status in [
        ((GZIP, of_compressed), 304),
        ((of_plain,), 304),
        ((GZIP, of_plain), 200),
        ((of_compressed,), 200),
    ]:
        answer = await get(server, address, *headers)
        assert answer.status == status
        assert answer.headers["vary"] == plain.headers["vary"]
        if status == 304:
            assert answer.body == b""


async def test_the_answer_to_head_names_the_compressed_length(server: Server) -> None:
    compressed = await get(server, FILE, GZIP)
    async with connection_to(server) as connection:
        await connection.send(request(b"HEAD %s HTTP/1.1" % FILE.encode(), GZIP))
        head = await asyncio.wait_for(connection.reader.readuntil(b"\r\n\r\n"), PATIENCE)
    assert b"content-length: %d\r\n" % len(compressed.body) in head
    assert b"content-encoding: gzip\r\n" in head


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_reads_a_compressed_page(server: Server) -> None:
    page = "/static/storefront.css"  # a page names the host that it was requested from
    command = ["curl", "--silent", "--compressed", f"{server.url}{page}"]
    curl = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    received, _ = await asyncio.wait_for(curl.communicate(), PATIENCE)
    assert received == (await get(server, page)).body
