"""The schema, composed from one module per subject."""

from datetime import datetime
from functools import cache

import strawberry
from strawberry.schema.config import StrawberryConfig

from api.graphql.activity import ActivityQueries, ActivitySubscriptions
from api.graphql.clock import ClockQueries
from api.graphql.date_time import DATE_TIME
from api.graphql.drops import DropQueries
from api.graphql.nodes import NodeQueries
from api.graphql.operator_log import OperatorLogQueries
from api.graphql.order_counts import OrderCountQueries
from api.graphql.order_events import OrderEventQueries, OrderEventSubscriptions
from api.graphql.orders import OrderMutations, OrderQueries
from api.graphql.payments import PaymentMutations
from api.graphql.product_changes import ProductChangeMutations
from api.graphql.product_feed import ProductFeedSubscriptions
from api.graphql.product_queries import ProductQueries
from api.graphql.products import ProductMutations
from api.graphql.purchase import PURCHASE_RESULTS, PurchaseMutations
from api.graphql.purchase_by_key import PurchaseByKeyQueries
from api.graphql.regions import RegionQueries
from api.graphql.stock import StockSubscriptions
from api.graphql.viewer import ViewerMutations, ViewerQueries


@strawberry.type(description="What can be read.")
class Query(
    NodeQueries,
    ProductQueries,
    DropQueries,
    OrderQueries,
    PurchaseByKeyQueries,
    OrderEventQueries,
    OperatorLogQueries,
    ActivityQueries,
    OrderCountQueries,
    ViewerQueries,
    RegionQueries,
    ClockQueries,
):
    pass


@strawberry.type(description="What can be done.")
class Mutation(
    PurchaseMutations, ProductMutations, ProductChangeMutations, OrderMutations, PaymentMutations, ViewerMutations
):
    pass


@strawberry.type(
    description="What the server sends by itself: over a websocket (graphql-transport-ws) or as server-sent events "
    "(graphql-sse)."
)
class Subscription(StockSubscriptions, ProductFeedSubscriptions, OrderEventSubscriptions, ActivitySubscriptions):
    pass


@cache
def make_schema() -> strawberry.Schema:
    """The schema; the source of truth from which schema.graphql is exported. It is made once for a process."""
    config = StrawberryConfig(scalar_map={datetime: DATE_TIME})
    return strawberry.Schema(Query, Mutation, Subscription, types=PURCHASE_RESULTS, config=config)


def sdl() -> str:
    """The schema in GraphQL's definition language, as schema.graphql holds it."""
    return f"{make_schema().as_str()}\n"
