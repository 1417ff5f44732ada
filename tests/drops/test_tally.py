"""The tally: what is counted of each product, and of the products past the bound."""

import uuid

from api.drops.tally import MAX_PRODUCTS, Tally


def test_products_past_the_bound_are_counted_together() -> None:
    tally = Tally()
    products = [uuid.uuid4() for _ in range(MAX_PRODUCTS + 20)]
    for product_id in products * 2:
        tally.count_purchase(product_id, "here", "Confirmed", attempts=2, seconds=0.01)
        tally.count_transaction(product_id, "here", "sold")

    assert set(tally.products) == {*products[:MAX_PRODUCTS], None}
    assert tally.products[products[0]].outcomes == {"Confirmed": 2}
    others = tally.products[None]
    assert (others.outcomes, others.transactions, others.attempts) == ({"Confirmed": 40}, {"sold": 40}, 80)
    assert sum(others.seconds.counts) == 40
    assert tally.outcomes == {("here", "Confirmed"): 2 * len(products)}
