"""Tables in a narrow terminal: texts are folded, ids and numbers stay whole. A list becomes blocks of lines."""

import io
import re
from uuid import UUID

import pytest
from rich.console import Console
from rich.table import Table

from api import terminal
from api.client.products import FIELDS
from api.drops.audit import AuditLine
from api.terminal import audit_table, product_table

ID = "45f33033-1e1c-4ca3-aaf8-60a96cab7c81"
NAME = "The long-sleeved tee of the second night, in black"
PRODUCT = dict.fromkeys((*FIELDS, "price")) | {
    "id": ID,
    "name": NAME,
    "dropName": "Second Night",
    "opensAt": "2026-12-01T09:00:00.500000+00:00",
    "stock": 2_147_483_647,
    "price": {"amount": "48.00", "currency": "EUR"},
    "limitPerBuyer": 12,
    "holdSeconds": 86_400,
}


def rendered(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [130, 1000])
def test_a_product_keeps_its_id_and_numbers_whole_at_any_width(width: int) -> None:
    text = rendered(product_table([PRODUCT]), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert re.search(rf"^{ID} .* 2147483647 +48.00 EUR +12 +86400 *$", text, re.M)
    assert "…" not in text


def test_a_list_in_a_narrow_terminal_has_a_line_for_each_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich takes any output for a terminal
    for width, heads in ((80, 2), (200, 1)):
        monkeypatch.setattr(terminal, "_out", type(terminal._out)(width=width))
        terminal.show_list(product_table([PRODUCT, PRODUCT]))
        out = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
        assert len(re.findall(r"\bid ", out)) == heads
        assert re.search(rf"^name +{NAME}$", out, re.M) if heads == 2 else f"{ID}   {NAME}" in out
        assert "2026-12-01T09:00:00Z" in out


@pytest.mark.parametrize("width", [100, 1000])
def test_the_books_keep_their_numbers_whole_at_any_width(width: int) -> None:
    line = AuditLine(
        UUID(ID), NAME, 64, stocked=100_000, stock=98_000, held=1_000, sold=1_000, orders=900, wrong_holdings=0
    )
    text = rendered(audit_table([line]), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert re.search(rf"^{ID} .* 100000 +98000 +1000 +1000 +yes *$", text, re.M)
    assert "…" not in text
