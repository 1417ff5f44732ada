"""Events as webhooks: drops know no HTTP, and webhooks know no drops."""

from api.drops.events import Event
from api.drops.sending import NotTaken
from api.webhooks.event import WebhookEvent
from api.webhooks.webhook import Webhook, WebhookFailed


async def send_event(webhook: Webhook, event: Event) -> None:
    """Send an event once. Raises NotTaken."""
    try:
        await webhook.send(WebhookEvent(event.id, event.type, event.occurred_at, event.data))
    except WebhookFailed as failed:
        raise NotTaken(f"{webhook.receiver}: {failed}", failed.retry_after, away=failed.away) from None
