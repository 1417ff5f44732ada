"""An event as a webhook carries it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """`id`: by which a receiver recognises an event that it gets again. `type`: such as `order.held`. `data`: JSON, as
    it was written with what happened."""

    id: UUID
    type: str
    occurred_at: datetime
    data: str

    @property
    def body(self) -> bytes:
        """The body of the webhook, as Standard Webhooks describes it. The same bytes each time it is sent."""
        return orjson.dumps({"type": self.type, "timestamp": self.occurred_at, "data": orjson.Fragment(self.data)})
