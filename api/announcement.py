"""What a server prints when it is open."""

from api import terminal
from api.server import warn_of_names
from api.settings import Settings


def announce(address: str, settings: Settings, ready: Settings) -> None:
    """Print where the server is, and who may use it. `settings` are those that were configured, and `ready` those with
    the embedded database that runs."""
    facts = [("Storefront", f"{address}/"), ("GraphiQL" if settings.graphiql else "GraphQL", f"{address}/graphql")]
    if settings.embedded and settings.admin_token is None:
        facts.append(("Operator", f"Authorization: Bearer {ready.admin_token}"))
        facts.append(("Data", f"{settings.data_directory} (embedded PostgreSQL 16, and the operator's token)"))
    elif settings.embedded:
        facts.append(("Data", f"{settings.data_directory} (embedded PostgreSQL 16)"))
    facts.append(("Regions", ", ".join(endpoint.region for endpoint in ready.endpoints)))
    facts.append(("Buyers", _buyers(ready)))
    terminal.announce("DROPZERO is open. Ctrl-C stops it.", facts)
    warn_of_names(settings)


def _buyers(settings: Settings) -> str:
    if settings.open_to_anyone:
        return "anyone, under any name (userRef); with DROPZERO_ENDPOINTS buyers have to sign in"
    kinds = [f"those of {settings.issuer.issuer}"] if settings.issuer is not None else []
    kinds += ["guests"] if settings.guest_keys else []
    return " and ".join(kinds) or "none: set DROPZERO_ISSUER or DROPZERO_GUEST_KEY to let buyers sign in"
