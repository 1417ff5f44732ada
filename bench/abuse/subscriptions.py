"""Attacks with operations over websockets, subscriptions among them."""

import itertools
import random

from graphql import get_introspection_query

from bench.abuse.attack import Attack, Manner, Messages, Target, payload, unique
from bench.abuse.documents import LIST
from bench.abuse.purchases import unknown_product

SUBSCRIPTION = "subscription($ids: [ID!]!){stockChanged(productIds: $ids){productId stock version}}"


def unknown(target: Target) -> Messages:
    while True:
        yield payload(SUBSCRIPTION, {"ids": [unknown_product()]})


def on_sale(target: Target) -> Messages:
    while True:
        yield payload(SUBSCRIPTION, {"ids": [target.product_id]})


def hundred(target: Target) -> Messages:
    """100 products in one subscription, each time in another order."""
    while True:
        yield payload(SUBSCRIPTION, {"ids": random.sample(target.other_ids, len(target.other_ids))})


def different(target: Target) -> Messages:
    """The product on sale, in a document that no other subscription has, so that no broadcast is shared."""
    fields = " ".join(f"a{unique()}: stock" for _ in range(8))
    document = f"subscription($ids: [ID!]!){{stockChanged(productIds: $ids){{{fields} version}}}}"
    while True:
        yield payload(document, {"ids": [target.product_id]})


def same(target: Target) -> Messages:
    """The same subscription to the product on sale, 100 times on each socket."""
    yield from on_sale(target)


def typenames(target: Target) -> Messages:
    while True:
        yield payload(f"{{a{unique()}: __typename {'__typename ' * 490}}}")


def introspection(target: Target) -> Messages:
    while True:
        yield payload(get_introspection_query())


def lists(target: Target) -> Messages:
    while True:
        yield payload(f"{{{LIST}}}")


def queries(target: Target) -> Messages:
    while True:
        yield payload("{ __typename }")


def errors(target: Target) -> Messages:
    for number in itertools.count():
        yield payload(f"{{ unknown{number} }}")


SUBSCRIPTION_ATTACKS = (
    Attack("churn", "subscription churn, unknown products", unknown, 1, Manner.CHURN, in_flight=100, usual=True),
    Attack("churn-on-sale", "subscription churn, the product on sale", on_sale, 1, Manner.CHURN, in_flight=100),
    Attack("churn-100", "subscription churn, 100 products", hundred, 1, Manner.CHURN, in_flight=100),
    Attack("churn-20", "subscription churn, unknown products", unknown, 20, Manner.CHURN, in_flight=100),
    Attack(
        "watching", "10,000 subscriptions of the product", same, 100, Manner.SUBSCRIPTIONS, in_flight=100, usual=True
    ),
    Attack("watching-1", "100 different subscriptions of it", different, 1, Manner.SUBSCRIPTIONS, in_flight=100),
    Attack("typename-socket", "490 x __typename, unique", typenames, 1, Manner.OPERATIONS, in_flight=100),
    Attack("introspection-socket", "introspection, kept", introspection, 1, Manner.OPERATIONS, in_flight=100),
    Attack("list-socket", "products(first: 100)", lists, 1, Manner.OPERATIONS, in_flight=100),
    Attack("queries-socket", "{ __typename }, kept", queries, 1, Manner.OPERATIONS, in_flight=100),
    Attack("errors-socket", "invalid documents, unique", errors, 1, Manner.OPERATIONS, in_flight=100),
)
