"""Guest tokens: signed by this deployment, refused when forged or expired, and verified by keys that were replaced."""

import base64
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from api.identity.claims import Claims, TokenRefused
from api.identity.guests import ISSUER, LIFETIME, GuestTokens, parse_guest_keys

KEY, NEW_KEY, OTHER = "a-key-of-this-deployment-0123456", "b-key-of-this-deployment-0123456", "c" * 32
NOW = 1_800_000_000.0
NOT_SIGNED = "this deployment has not signed the guest token that was sent; get a new one by the mutation guest"


@pytest.fixture
def guests() -> GuestTokens:
    return GuestTokens([KEY])


def signed(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """A token with other claims than a guest's."""
    said = {"iss": ISSUER, "sub": "guest-1", "exp": NOW + 60, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode({"alg": algorithm}, said, OctKey.import_key(key.encode()), algorithms=[algorithm])


def unsigned(header: Any, claims: Any, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def refusal(guests: GuestTokens, token: str, now: float = NOW) -> str:
    with pytest.raises(TokenRefused) as refused:
        guests.verify(token, now)
    return str(refused.value)


def test_a_token_says_who_its_guest_is_until_it_expires(guests: GuestTokens) -> None:
    issued = guests.issue(NOW)
    assert issued.subject.startswith("guest-")
    assert issued.expires_at == NOW + LIFETIME
    claims = Claims(issued.subject, frozenset(), guest=True, expires_at=NOW + LIFETIME)
    assert guests.verify(issued.token, NOW) == claims
    assert guests.verify(issued.token, NOW + LIFETIME - 1) == claims
    expired = "the guest token that was sent has expired; get a new one by the mutation guest"
    assert refusal(guests, issued.token, NOW + LIFETIME) == expired


def test_every_guest_has_a_subject_that_cannot_be_guessed(guests: GuestTokens) -> None:
    subjects = {guests.issue(NOW).subject for _ in range(1000)}
    assert len(subjects) == 1000
    assert min(map(len, subjects)) >= len("guest-") + 22  # 128 bits in base64


def test_the_token_is_in_no_repr(guests: GuestTokens) -> None:
    issued = guests.issue(NOW)
    assert issued.token not in repr(issued)


def test_a_new_first_key_signs_and_the_key_before_it_verifies_until_it_is_removed() -> None:
    before = GuestTokens([KEY]).issue(NOW)
    both = GuestTokens([NEW_KEY, KEY])
    after = both.issue(NOW)
    assert both.verify(before.token, NOW).subject == before.subject
    assert both.verify(after.token, NOW).subject == after.subject
    assert GuestTokens([NEW_KEY]).verify(after.token, NOW).subject == after.subject
    assert refusal(GuestTokens([KEY]), after.token) == NOT_SIGNED
    assert refusal(GuestTokens([NEW_KEY]), before.token) == NOT_SIGNED


def test_a_token_with_another_signature_or_algorithm_is_refused(guests: GuestTokens) -> None:
    claims = {"iss": ISSUER, "sub": "guest-1", "exp": NOW + 60}
    public = RSAKey.generate_key(2048, auto_kid=False)
    forged = {
        "another key": signed(OTHER),
        "none": unsigned({"alg": "none"}, claims),
        "none, with a signature": unsigned({"alg": "none"}, claims, b"x" * 32),
        "HS512": signed(algorithm="HS512"),
        "RS256": jwt.encode({"alg": "RS256"}, claims, public, algorithms=["RS256"]),
        "no algorithm": unsigned({"typ": "JWT"}, claims, b"x" * 32),
        "another kind of algorithm": unsigned({"alg": ["HS256"]}, claims, b"x" * 32),
        "no signature": signed().rpartition(".")[0] + ".",
        "half a signature": signed()[:-20],
        "an extension": unsigned({"alg": "HS256", "crit": ["exp"]}, claims, b"x" * 32),
    }
    assert {kind: refusal(guests, token) for kind, token in forged.items()} == dict.fromkeys(forged, NOT_SIGNED)


def test_a_changed_claim_makes_the_signature_wrong(guests: GuestTokens) -> None:
    header, _, signature = guests.issue(NOW).token.split(".")
    claims = {"iss": ISSUER, "sub": "guest-of-somebody-else", "exp": NOW + LIFETIME}
    _, payload, _ = unsigned({}, claims).split(".")
    assert refusal(guests, f"{header}.{payload}.{signature}") == NOT_SIGNED


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://sign-in.shop.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"sub": None},
        {"sub": 7},
        {"sub": "ada"},
        {"exp": None},
        {"exp": "never"},
        {"exp": True},
    ],
    ids=repr,
)
def test_what_the_key_has_signed_for_another_purpose_is_no_guest_token(
    guests: GuestTokens, claims: dict[str, Any]
) -> None:
    assert refusal(guests, signed(**claims)) == NOT_SIGNED


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "e30.e30.e30", "[" * 5000])
def test_garbage_is_refused_and_not_repeated(guests: GuestTokens, token: str) -> None:
    assert refusal(guests, token) == NOT_SIGNED


def test_keys_are_read_in_their_order() -> None:
    assert parse_guest_keys(f"{NEW_KEY}, {KEY},") == (NEW_KEY, KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hunter2", "expected keys of at least 32 printable ASCII characters without spaces"),
        (f"{KEY},hunter2", "expected keys of at least 32 printable ASCII characters without spaces"),
        ("hunter2 " * 8, "expected keys of at least 32 printable ASCII characters without spaces"),
        ("hunter2é" * 8, "expected keys of at least 32 printable ASCII characters without spaces"),
        (",", "expected keys of at least 32 printable ASCII characters without spaces"),
        (",".join(f"hunter2{number}" * 4 for number in range(6)), "expected at most 5 keys"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_not_repeated(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}") as refused:
        parse_guest_keys(text)
    assert "hunter2" not in str(refused.value)
