"""Rows of the shop without a database: of the operator log and of activity."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from api.drops.operator_log import Action

NOW = datetime(2026, 12, 1, 10, 0, 0, 250_000, UTC)

LOG = tuple(
    {
        "id": UUID(int=300 + number),
        "operator": "olga",
        "action": action.value,
        "product_id": None if number % 3 == 2 else UUID(int=1),
        "order_id": None if number % 2 else UUID(int=100),
        "changes": '[["stock", null, "3"]]',
        "created_at": NOW,
    }
    for number, action in enumerate(Action)
)
"""Rows of the operator log, as list_log reads them."""

ACTIVITY = tuple(
    {"at": NOW - timedelta(minutes=ago), "process": UUID(int=1), "stock": stock, "version": 30 - ago, "data": data}
    for ago, stock, data in (
        (1, 5, '{"outcomes": {"Confirmed": 2}, "transactions": {"sold": 1}, "attempts": 2, "seconds": [[0.1, 2]]}'),
        (30, None, '{"outcomes": {}, "transactions": {"Conflict": 3}, "attempts": 0, "seconds": []}'),
    )
)
"""Rows of activity, as read_history reads them."""
