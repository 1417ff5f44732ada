"""While the shop's issuer is away, its tokens are not refused: their callers are told to try again."""

import pytest

from tests.graphql.callers import ADA, GUEST, OPERATOR, Shop, shop_settings
from tests.graphql.operations import CANCEL, CREATE, ORDERS, UNKNOWN_ID
from tests.identity.shop_issuer import DESCRIPTION, answering, shop_issuer
from tests.server import PURCHASE, serving

VIEWER = "{ viewer { subject } }"


@pytest.mark.parametrize("closed", [True, False], ids=["configured", "laptop"])
async def test_a_token_that_cannot_be_checked_is_to_be_sent_again(postgres_url: str, closed: bool) -> None:
    async with shop_issuer() as issuer:
        issuer.answers[DESCRIPTION] = answering(b"", status=503)
        async with serving(shop_settings(issuer, postgres_url, closed=closed)) as server:
            shop = Shop(server, issuer)
            product_id = await server.create_product(10)
            for document, variables in (
                (VIEWER, {}),
                (ORDERS, {}),
                (PURCHASE, {"input": {"productId": product_id}}),
                (PURCHASE, {"input": {"productId": product_id, "userRef": ADA}}),
                (CANCEL, {"input": {"orderId": UNKNOWN_ID}}),
                (CREATE, {"input": {"name": "Tee", "dropName": "First Light", "stock": 1}}),
            ):
                code, message = await server.refusal(document, variables, token=shop.token(ADA))
                assert code == "SERVICE_UNAVAILABLE", document
                assert "try again in a moment" in message
            for caller in (GUEST, OPERATOR):
                assert await server.data(VIEWER, token=shop.token(caller))
