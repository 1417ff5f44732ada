"""AWS credentials from an OIDC token that the platform sends, as Vercel does with every request.

AWS STS exchanges the token for the credentials of a role that trusts it. Connections open outside of requests, too. So
the latest token is kept here, and botocore keeps the credentials and refreshes them in time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session

MAX_TOKEN = 16_384
"""Characters. A longer header is not a token, and is not kept."""


class NoToken(Exception):
    """No token can be signed, as there are no AWS credentials; the message says why and what to do."""


class WebIdentity:
    """The latest token, and the role that it is exchanged for. Neither is ever logged or printed."""

    def __init__(self, role_arn: str, token: str | None, *, from_requests: bool) -> None:
        """`token` is the first token; None if the first one comes `from_requests`."""
        self.from_requests = from_requests
        self._role_arn = role_arn
        self._token = token

    @property
    def arrived(self) -> bool:
        """Whether there is a token to exchange."""
        return self._token is not None

    def accept(self, token: str) -> None:
        """Keep a token in the place of the last one. An empty or too long one is ignored."""
        if token and len(token) <= MAX_TOKEN:
            self._token = token

    def install(self, session: "Session", region: str) -> None:
        """Make a botocore session exchange the latest token for its credentials, at STS in the Region."""
        # botocore's own classes, which its documentation leaves out. They are needed until botocore can read the token
        # of a web identity from a function instead of a file.
        from botocore.credentials import (
            AssumeRoleWithWebIdentityCredentialFetcher,
            CredentialProvider,
            DeferredRefreshableCredentials,
        )

        def create_client(service: str, **options: Any) -> Any:
            return session.create_client(service, region_name=region, **options)

        fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
            client_creator=create_client,
            web_identity_token_loader=self._latest,
            role_arn=self._role_arn,
            extra_args={"RoleSessionName": "dropzero"},
        )

        class Provider(CredentialProvider):
            METHOD = "web-identity"

            def load(self) -> DeferredRefreshableCredentials:
                return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method=self.METHOD)

        session.get_component("credential_provider").insert_before("env", Provider())

    def _latest(self) -> str:
        if self._token is None:
            raise NoToken(
                "no OIDC token has come yet; it comes with the first request, where the project has OIDC federation "
                "switched on (Vercel: Settings, Security, Secure backend access)"
            )
        return self._token
