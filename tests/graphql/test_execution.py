"""What an operation leaves behind: nothing."""

import gc

import pytest

from tests.server import PURCHASE, Server


@pytest.mark.slow
async def test_a_purchase_leaves_no_work_for_the_garbage_collector(server: Server) -> None:
    product_id = await server.create_product(stock=1_000)

    async def buy() -> None:
        wanted = {"productId": product_id, "userRef": "ada"}
        async with server.session.post(
            f"{server.url}/graphql", json={"query": PURCHASE, "variables": {"input": wanted}}
        ):
            pass

    for _ in range(20):  # caches and pools fill
        await buy()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await buy()
        unreachable = gc.collect()
    finally:
        gc.enable()

    assert unreachable < 50 * 20, "the client in this process has some of its own; an execution alone left 57"
