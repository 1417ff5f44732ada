"""The passwords of Aurora DSQL: tokens signed with the AWS credentials of this machine, one for each new connection.

Signing needs no network. Credentials come from botocore's own chain (environment, profile, container, instance), or
on Vercel from its OIDC token, which AWS STS exchanges. None of them is part of our configuration.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from api.database.endpoint import DsqlAddress
from api.database.web_identity import NoToken, WebIdentity

TOKEN_LIFETIME = 900
"""Seconds. The database checks a token only when its connection opens, which follows at once."""


class AuthTokens:
    """Signs tokens with one kept client, which is made when first needed. Works in a thread, not on the event loop:
    making the client takes 50 ms, and refreshing credentials uses the network."""

    def __init__(self, web_identity: WebIdentity | None = None) -> None:
        """`web_identity` gives the credentials instead of botocore's chain."""
        self._web_identity = web_identity
        self._client: Any = None  # boto3 makes its clients' classes at run time
        # One thread, so that signings never overlap: while one was still looking for credentials, a second got "no
        # credentials". The thread ends with this object.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="auth tokens")

    async def token(self, region: str, address: DsqlAddress) -> str:
        """Sign a fresh token, which allows a connection to the address, in its Region, as its role. Raises NoToken."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sign, region, address)

    def _sign(self, region: str, address: DsqlAddress) -> str:
        from botocore.exceptions import BotoCoreError, ClientError  # see _make_client

        try:
            if self._client is None:
                self._client = _make_client(region, self._web_identity)
            sign: Callable[..., str] = (
                self._client.generate_db_connect_admin_auth_token
                if address.role == "admin"
                else self._client.generate_db_connect_auth_token
            )
            return sign(Hostname=address.host, Region=region, ExpiresIn=TOKEN_LIFETIME)
        except (BotoCoreError, ClientError, OSError) as error:
            self._client = None  # a client that found no credentials when it was made never looks again
            raise NoToken(f"no token can be signed: {_explained(error)}") from error


def _make_client(region: str, web_identity: WebIdentity | None) -> Any:
    # Imported here: the import takes longer than all the rest of a short command, which may not need it.
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    # Signing itself sends nothing: these are for the requests that fetch credentials.
    session.set_default_client_config(Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2}))
    if web_identity is not None:
        web_identity.install(session, region)
    return boto3.Session(botocore_session=session).client("dsql", region_name=region)


def _explained(error: Exception) -> str:
    """The message for an error of botocore, with what to do."""
    match type(error).__name__:
        case "NoCredentialsError":
            profile = os.environ.get("AWS_PROFILE")
            where = f" in the profile {profile}" if profile else ""
            return (
                f"there are no AWS credentials{where}; give this machine a role (ECS, EKS, EC2, Lambda), sign in with "
                "`aws sso login`, or name a profile with AWS_PROFILE"
            )
        case name:
            return f"{name}: {error}; `aws sts get-caller-identity` shows whether this machine's AWS credentials work"
