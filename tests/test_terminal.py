"""Tables in a narrow terminal: texts are folded, ids and numbers stay whole."""

import io
import re
from uuid import UUID

import pytest
from rich.console import Console
from rich.table import Table

from api.client.products import FIELDS
from api.drops.audit import AuditLine
from api.terminal import audit_table, product_table

ID = "45f33033-1e1c-4ca3-aaf8-60a96cab7c81"
NAME = "The long-sleeved tee of the second night, in black"


def rendered(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 1000])
def test_a_product_keeps_its_id_and_numbers_whole_at_any_width(width: int) -> None:
    product = dict.fromkeys(FIELDS) | {
        "id": ID,
        "name": NAME,
        "dropName": "Second Night",
        "opensAt": "2026-12-01T09:00:00+00:00",
        "stock": 2_147_483_647,
        "limitPerBuyer": 12,
        "holdSeconds": 86_400,
    }
    text = rendered(product_table([product]), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert re.search(rf"^{ID} .* 2147483647 +12 +86400 *$", text, re.M)
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 100, 1000])
def test_the_books_keep_their_numbers_whole_at_any_width(width: int) -> None:
    line = AuditLine(
        UUID(ID), NAME, 64, stocked=100_000, stock=98_000, held=1_000, sold=1_000, orders=900, wrong_holdings=0
    )
    text = rendered(audit_table([line]), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert re.search(rf"^{ID} .* 100000 +98000 +1000 +1000 +yes *$", text, re.M)
    assert "…" not in text
