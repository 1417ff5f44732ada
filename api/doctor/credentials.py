"""The AWS credentials of this machine, without any of their secrets: where they come from, and whose they are."""

import asyncio
from typing import Any

from api.database.endpoint import DsqlAddress
from api.database.tokens import AuthTokens
from api.database.web_identity import NoToken
from api.doctor.finding import Finding, explained, ok, warning

CHECK = "AWS credentials"
STS_TIMEOUT = 5.0
"""Seconds for AWS STS to say whose credentials they are. A network without a way to STS is no fault: signing needs no
network."""

_LONG_LIVED = "AKIA"
"""What the id of an access key begins with that never expires (IAM User Guide, unique identifiers)."""


async def check_credentials(region: str, address: DsqlAddress, tokens: AuthTokens) -> list[Finding]:
    """Sign a token, and name the identity that signs."""
    try:
        await tokens.token(region, address)
    except NoToken as error:
        return [explained(CHECK, str(error), "aws sts get-caller-identity")]
    try:
        source, key_id, arn = await asyncio.to_thread(_identity, region)
    except Exception as error:
        return [ok(CHECK, f"a token can be signed; whose credentials they are is unknown: {type(error).__name__}")]
    findings = [ok(CHECK, f"a token can be signed, from {source}{f' as {arn}' if arn else ''}")]
    if key_id.startswith(_LONG_LIVED):
        findings.append(
            warning(
                CHECK, "the access key never expires", "give this machine a role (ECS, EKS, EC2, Lambda), or a sign-in"
            )
        )
    return findings


def _identity(region: str) -> tuple[str, str, str]:
    """Where botocore found the credentials, the id of their key, and the ARN of their owner, empty if unknown."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(region_name=region)
    credentials: Any = session.get_credentials()
    if credentials is None:
        return "the OIDC token of the platform", "", ""
    config = Config(connect_timeout=STS_TIMEOUT / 2, read_timeout=STS_TIMEOUT / 2, retries={"total_max_attempts": 1})
    try:
        arn = session.client("sts", config=config).get_caller_identity()["Arn"]
    except Exception:  # no network to STS, or a policy that refuses it
        arn = ""
    return credentials.method or "botocore's chain", credentials.get_frozen_credentials().access_key, arn
