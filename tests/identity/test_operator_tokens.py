"""Operators' tokens: each is found by its name, by a hash that is compared in constant time."""

import hmac
from hashlib import sha256

import pytest

from api.identity import operator_tokens
from api.identity.operator_tokens import OperatorTokens, parse_operator_tokens

ALICE, BOB, FIRST = "alices-token-0123", "bobs-token-012345", "first-token-01234"
HASH = sha256(BOB.encode()).hexdigest()


@pytest.fixture
def tokens() -> OperatorTokens:
    return OperatorTokens(FIRST, parse_operator_tokens(f"alice={ALICE}, bob@shop.example=sha256:{HASH.upper()},"))


def test_a_token_is_found_by_the_name_of_its_operator(tokens: OperatorTokens) -> None:
    assert [tokens.find(token) for token in (FIRST, ALICE, BOB)] == ["operator", "alice", "bob@shop.example"]
    for token in ("", ALICE[:-1], ALICE + "x", f"alice={ALICE}", HASH, f"sha256:{HASH}", "é", "operator"):
        assert tokens.find(token) is None


def test_a_token_that_was_withdrawn_leaves_the_others(tokens: OperatorTokens) -> None:
    fewer = OperatorTokens(None, parse_operator_tokens(f"alice={ALICE}"))
    assert (len(tokens), len(fewer), len(OperatorTokens(None))) == (3, 1, 0)
    assert [fewer.find(token) for token in (FIRST, ALICE, BOB)] == [None, "alice", None]


@pytest.mark.parametrize("token", [FIRST, ALICE, BOB, "a-wrong-token-of-somebody"])
def test_every_token_is_compared_with_all_hashes_in_constant_time(
    tokens: OperatorTokens, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(operator_tokens, "compare_digest", compare)
    tokens.find(token)
    known = {sha256(each.encode()).digest() for each in (FIRST, ALICE, BOB)}
    assert {one for one, _ in compared} == {sha256(token.encode()).digest()}
    assert {other for _, other in compared} == known


def test_no_token_is_kept_in_memory(tokens: OperatorTokens) -> None:
    assert not any(token in repr(vars(tokens)) for token in (FIRST, ALICE, BOB))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hunter2hunter2hunter2", "expected NAME=TOKEN or NAME=sha256:HEX, separated by commas; entry 1 has no name"),
        ("hunter2hunter2hunter2=", "expected NAME=TOKEN or NAME=sha256:HEX, separated by commas; entry 1 has no name"),
        ("hunter2hunter2hunter2==", "expected at least 16 printable ASCII characters without spaces, in entry 1"),
        (
            f"alice={ALICE},=hunter2hunter2hunter2",
            "expected NAME=TOKEN or NAME=sha256:HEX, separated by commas; entry 2",
        ),
        (f"alice={ALICE},bob=hunter2", "expected at least 16 printable ASCII characters without spaces, in entry 2"),
        ("bob=hunter2 hunter2 hunter2", "expected at least 16 printable ASCII characters without spaces, in entry 1"),
        ("bob=sha256:hunter2", "expected 64 hexadecimal digits behind sha256: in entry 1"),
        (f"bob=sha256:{HASH}0", "expected 64 hexadecimal digits behind sha256: in entry 1"),
        ("operator=hunter2hunter2", "expected another name in entry 1: DROPZERO_ADMIN_TOKEN has 'operator'"),
        (f"bob={ALICE},bob=hunter2hunter2hunter2", "expected a name and a token of its own in entry 2"),
        (f"bob={BOB},alice=sha256:{HASH}", "expected a name and a token of its own in entry 2"),
        (",", "expected 1 to 100 entries NAME=TOKEN, separated by commas"),
        (",".join(f"a{n}=hunter2hunter2hunter2{n}" for n in range(101)), "expected 1 to 100 entries NAME=TOKEN"),
    ],
)
def test_tokens_that_cannot_be_used_are_refused_and_not_repeated(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        parse_operator_tokens(text)
    assert str(refused.value).startswith(expected)
    assert "hunter2" not in str(refused.value)
    assert HASH not in str(refused.value)
