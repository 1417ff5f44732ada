"""Images of products: a file is uploaded to the server, and an image of any other server is downloaded and measured."""

from pathlib import PurePath
from typing import Any

from api.client.graphql import GraphQLClient

MAX_IMAGE = 5_000_000
"""Bytes of an image that is downloaded. The server keeps no larger one."""


async def upload_image(client: GraphQLClient, name: str, content: bytes) -> dict[str, Any]:
    """Send the content of a file to the server, and return the image's `url`, `width` and `height`. Raises
    RequestFailed."""
    answer = await client.post("/images", content, f"image/{PurePath(name).suffix.lstrip('.').lower() or 'unknown'}")
    with client.checking_data():
        return {"url": str(answer["url"]), "width": int(answer["width"]), "height": int(answer["height"])}


async def download_image(client: GraphQLClient, url: str) -> bytes:
    """The content of an image at a URL of https, without a token. Raises RequestFailed."""
    return await client.download(url, MAX_IMAGE)
