"""The public keys of an issuer, each with the algorithms that it can be used with."""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS, JWSAlgModel
from joserfc.jwk import JWKRegistry, Key

from api.identity.signed_token import MAX_KEY_ID, SignedToken

ALGORITHMS: Mapping[str, Mapping[str, str]] = {
    "RS256": {"kty": "RSA"},
    "RS384": {"kty": "RSA"},
    "RS512": {"kty": "RSA"},
    "PS256": {"kty": "RSA"},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "ES384": {"kty": "EC", "crv": "P-384"},
    "ES512": {"kty": "EC", "crv": "P-521"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "Ed25519": {"kty": "OKP", "crv": "Ed25519"},
}
"""What a key must be for each algorithm. All are asymmetric: with HS256 the public key would be the secret, and with
`none` there is no signature."""

MAX_KEYS = 100
"""Keys of an issuer that are read. Issuers publish two to five; reading one takes about 0.05 ms."""

MIN_RSA_BITS = 2048
"""RFC 7518 requires as many for RS256 and PS256."""

MAX_RSA_BITS = 8192
"""Checking a signature with a longer key takes more than 0.5 ms."""

_MATERIAL = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
"""The members of a public key. No other member is read, above all no private one."""

_SIGNATURE_BYTES = {"P-256": 64, "P-384": 96, "P-521": 132, "Ed25519": 64}

_MODELS: Mapping[str, JWSAlgModel] = {model.name: model for model in JWS_ALGORITHMS if model.name in ALGORITHMS}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key. Two keys are equal if they verify the same signatures of the same tokens."""

    key_id: str | None
    algorithms: frozenset[str]
    signature_bytes: int
    material: tuple[str, ...]
    _key: Key = field(compare=False, repr=False)

    @classmethod
    def read(cls, member: object) -> "VerificationKey | None":
        """The key of one entry of a JSON Web Key Set; None when it is not for signatures that are accepted here."""
        if not isinstance(member, dict) or not _is_for_signatures(member):
            return None
        algorithms = _algorithms_of(member)
        names = _MATERIAL.get(str(member.get("kty")), ())
        material: dict[str, str | list[str]] = {
            name: member[name] for name in names if isinstance(member.get(name), str)
        }
        if not algorithms or len(material) != len(names):
            return None
        try:
            size = _signature_bytes(member)
            key = JWKRegistry.import_key(material) if size else None
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        return (
            None
            if key is None
            else cls(member.get("kid"), algorithms, size, tuple(member[name] for name in names), key)
        )

    def verifies(self, token: SignedToken) -> bool:
        """Whether the token's signature is made with the private half of this key."""
        if token.algorithm not in self.algorithms or len(token.signature) != self.signature_bytes:
            return False
        try:
            return _MODELS[token.algorithm].verify(token.message, token.signature, self._key)
        except (JoseError, ValueError):
            return False


def read_keys(members: Iterable[object]) -> frozenset[VerificationKey]:
    """The keys of a JSON Web Key Set that can be used here. Others are skipped, as RFC 7517, section 5, asks for."""
    read = (VerificationKey.read(member) for member in members)
    return frozenset(key for key in read if key is not None)


def _is_for_signatures(member: dict[str, Any]) -> bool:
    key_id, operations = member.get("kid"), member.get("key_ops", ["verify"])
    return (
        member.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(key_id, str | None)
        and len(key_id or "") <= MAX_KEY_ID
    )


def _algorithms_of(member: dict[str, Any]) -> frozenset[str]:
    """The algorithms that fit the key's type and curve; only the key's own one, where it names one."""
    own = member.get("alg")
    return frozenset(
        name
        for name, needed in ALGORITHMS.items()
        if own in (None, name) and all(member.get(key) == value for key, value in needed.items())
    )


def _signature_bytes(member: dict[str, Any]) -> int:
    """The bytes of every signature by this key; 0 for an RSA key of a size that is not used. Raises ValueError."""
    if member["kty"] != "RSA":
        return _SIGNATURE_BYTES[member["crv"]]
    text = member["n"]
    try:
        bits = int.from_bytes(b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)).bit_length()
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return (bits + 7) // 8 if MIN_RSA_BITS <= bits <= MAX_RSA_BITS else 0
