"""`dropzero product` before a server that runs: changes of products, and what is printed of them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import Run, operator
from tests.images.pictures import PNG, WEBP
from tests.server import ADMIN_TOKEN, Server, serving


async def product(server: Server, *arguments: str) -> dict[str, Any]:
    """Run a command, and return the product that it prints as JSON."""
    run = await operator(server, "product", *arguments, "--json")
    assert (run.status, run.err) == (0, ""), run
    found: dict[str, Any] = json.loads(run.out)
    return found


async def test_a_product_is_changed_field_by_field(shared_server: Server) -> None:
    created = await product(
        shared_server,
        *["create", "Tée", "--drop", "Night", "--stock", "5", "--limit", "2", "--hold-seconds", "60"],
        *["--opens-at", "2026-12-01T10:00+01:00", "--closes-at", "2026-12-02T10:00+01:00", "--description", "Black"],
    )
    product_id = created["id"]
    assert created["opensAt"] == "2026-12-01T09:00:00+00:00"
    assert (created["description"], created["closesAt"]) == ("Black", "2026-12-02T09:00:00+00:00")

    changed = await product(
        shared_server, "update", product_id, "--name", "Cap", "--limit", "3", "--hold-seconds", "90"
    )
    new = {"name": "Cap", "limitPerBuyer": 3, "holdSeconds": 90, "revision": created["revision"] + 1}
    assert changed == {**created, **new}
    options = ["--no-limit", "--no-hold", "--no-opening", "--no-closing", "--no-description"]
    removed = await product(shared_server, "update", product_id, *options)
    none = dict.fromkeys(("limitPerBuyer", "holdSeconds", "opensAt", "closesAt", "description"))
    assert removed == {**changed, **none, "revision": changed["revision"] + 1}
    closes = ["--closes-at", "2030-01-01T00:00:00.250Z"]
    assert (await product(shared_server, "update", product_id, *closes))[
        "closesAt"
    ] == "2030-01-01T00:00:00.250000+00:00"

    listed = await operator(shared_server, "product", "list", "--drop", "Night", "--json")
    [line] = map(json.loads, listed.out.splitlines())
    shown = await product(shared_server, "show", product_id)
    assert shown == {**line, "images": [], "descriptions": [], "held": 0}
    fields = (await operator(shared_server, "product", "show", product_id)).out
    assert re.search(r"^name +Cap$", fields, re.M)
    assert re.search(r"^limitPerBuyer$", fields, re.M)


async def test_a_product_is_shown_with_pictures_a_price_and_descriptions(shared_server: Server, tmp_path: Path) -> None:
    (tmp_path / "front=1.webp").write_bytes(WEBP)
    (tmp_path / "back.png").write_bytes(PNG)
    async with serving(replace(shared_server.settings, image_folder=tmp_path / "images")) as server:
        front, back = f"{tmp_path}/front=1.webp=White tee", f"{tmp_path}/back.png=The back"
        created = await product(
            server,
            *["create", "Tee", "--drop", "Shown", "--stock", "5", "--price", "48.00 eur", "--family", "Tee"],
            *["--option", "M", "--image", front, "--image", back],
            *["--description-in", "ja=黒", "--description-in", "fr=Noir = noir"],
        )
        assert created["price"] == {"amount": "48.00", "currency": "EUR"}
        assert [image["alt"] for image in created["images"]] == ["White tee", "The back"]
        assert {(image["width"], image["height"]) for image in created["images"]} == {(3, 2)}
        for image, content in zip(created["images"], (WEBP, PNG), strict=True):
            async with server.session.get(server.url + image["url"]) as response:
                assert await response.read() == content

        changed = await product(
            server, "update", created["id"], "--description-in", "FR=", "--description-in", "es=Negro"
        )
        texts = [{"language": "ja", "text": "黒"}, {"language": "es", "text": "Negro"}]
        assert changed == {**created, "descriptions": texts, "revision": 1}
        fields = (await operator(server, "product", "show", created["id"])).out
        shown = r"^price +48.00 EUR\nimages +/images/\w+\.webp White tee 3 2\n +/images/\w+\.png The back 3 2\n"
        assert re.search(shown + r"descriptions +ja 黒\n +es Negro$", fields, re.M)
        listed = await operator(server, "product", "list", "--drop", "Shown", DROPZERO_ADMIN_TOKEN="")
        assert re.search(rf"^{created['id']} +Tee, M .* 5 +48.00 EUR *$", listed.out, re.M)

        replaced = await product(server, "update", created["id"], "--image", back)
        assert [image["alt"] for image in replaced["images"]] == ["The back"]
        options = ["--no-price", "--no-image", "--no-family", "--no-option"]
        removed = await product(server, "update", created["id"], *options)
        none: dict[str, Any] = {"price": None, "images": [], "family": None, "option": None}
        assert removed == {**replaced, **none, "revision": 3}


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("--price", "48"), 2, "write a number and a currency, such as \"48.00 EUR\", not '48'"),
        (("--price", "4,8 EUR"), 1, "dropzero: price.amount must be a number such as 48.00, not '4,8'"),
        (("--image", "tee.webp"), 2, "write a file or a URL, and what the image shows:"),
        (("--image", "gone.webp=A tee"), 1, "dropzero: cannot read 'gone.webp': No such file or directory"),
        (("--image", f"{__file__}=A test"), 1, "dropzero: send an image as PNG, JPEG, WebP or AVIF"),
        (("--description-in", "noir"), 2, "write a language and a text:"),
        (("--option", "M"), 1, "dropzero: option needs a family"),
    ],
)
async def test_a_value_that_cannot_be_shown_says_what_to_write(
    shared_server: Server, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    run = await operator(shared_server, "product", "create", "Tee", "--drop", "Wrong", "--stock", "1", *arguments)
    assert (run.status, run.out) == (status, "")
    assert complaint in " ".join(re.sub("[│╭╮╰╯─]", " ", run.err).split())


async def test_a_sale_is_paused_resumed_and_archived(shared_server: Server) -> None:
    product_id = await shared_server.create_product(dropName="Pause")

    async def listed(*arguments: str) -> Run:
        return await operator(shared_server, "product", "list", "--drop", "Pause", *arguments)

    assert (await product(shared_server, "pause", product_id))["pausedAt"] is not None
    assert (await shared_server.purchase(product_id))["status"] == "PAUSED"
    assert re.search(rf"^{product_id} .* paused +10 *$", (await listed()).out, re.M)
    assert (await product(shared_server, "resume", product_id))["pausedAt"] is None
    assert (await shared_server.purchase(product_id))["status"] == "CONFIRMED"
    assert (await product(shared_server, "archive", product_id))["archivedAt"] is not None
    assert (await listed()).out.count(product_id) == 0
    assert re.search(rf"^{product_id} .* archived +9 *$", (await listed("--archived")).out, re.M)


async def test_a_change_on_an_older_revision_names_the_changes_of_others(shared_server: Server) -> None:
    product_id = await shared_server.create_product()
    revision = (await product(shared_server, "show", product_id))["revision"]
    stock = (await product(shared_server, "restock", product_id, "-1"))["stock"]
    assert (await product(shared_server, "restock", product_id, "1"))["stock"] == stock + 1
    await product(shared_server, "update", product_id, "--name", "Cap")
    await product(shared_server, "update", product_id, "--limit", "3")
    run = await operator(shared_server, "product", "update", product_id, "--limit", "5", "--revision", str(revision))
    assert (run.status, run.out) == (1, "")
    at = r"at \S+ operator changed it: "
    assert re.search(rf"read it again.*; {at}name 'Tee' -> 'Cap'; {at}limitPerBuyer '3'\n$", run.err)
    assert run.err.count("\n") == 1
    assert (await product(shared_server, "show", product_id))["limitPerBuyer"] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((), 2, "name at least one value to change"),
        (("--limit", "5", "--no-limit"), 2, "--limit and --no-limit exclude each other"),
        (("--limit", "0"), 1, "dropzero: limitPerBuyer must be between 1 and"),
        (
            ("--closes-at", "2026-12-01T10:00"),
            2,
            "write a date, a time and a UTC offset, such as 2026-12-01T10:00+01:00",
        ),
        (("--opens-at", "tomorrow"), 2, "such as 2026-12-01T10:00+01:00, not 'tomorrow'"),
    ],
)
async def test_a_change_that_cannot_be_made_says_why(
    shared_server: Server, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    product_id = await shared_server.create_product()
    run = await operator(shared_server, "product", "update", product_id, *arguments)
    assert (run.status, run.out) == (status, "")
    assert complaint in " ".join(re.sub("[│╭╮╰╯─]", " ", run.err).split())


async def test_an_unknown_product_is_one_line(shared_server: Server) -> None:
    nobody = "6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e"
    for command in (("show", nobody), ("update", nobody, "--name", "Cap"), ("pause", nobody, "--json")):
        run = await operator(shared_server, "product", *command)
        assert (run.status, run.out, run.err) == (1, "", f"dropzero: there is no product {nobody}\n")
    assert ADMIN_TOKEN not in run.err
