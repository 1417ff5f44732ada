"""The documents that the server keeps. Each is parsed and validated once; the least recently used is dropped first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from graphql import GraphQLSchema

from api.graphql.documents import KEPT_CHARACTERS, KEPT_DOCUMENTS, KEPT_LENGTH, Document, Documents
from api.graphql.validation import InvalidDocument
from api.identity.turns import Turns
from api.storefront.pages import documents
from tests.graphql.documents import refusal, turns
from tests.patience import PATIENCE
from tests.server import PURCHASE


class FewTurns(Turns):
    """Turns of a process that is busy: after a few of them no more is granted."""

    def __init__(self, left: int) -> None:
        super().__init__(0.1, 0.4)
        self._left = left

    @asynccontextmanager
    async def turn(self, client: str = "", *, begun: bool = False) -> AsyncIterator[float]:
        self._left -= 1
        if self._left < 0:
            await asyncio.Event().wait()
        async with super().turn(client, begun=begun) as end:
            yield end


@pytest.fixture
def kept(schema: GraphQLSchema) -> Documents:
    """Documents of the schema, of which none is kept yet."""
    return Documents(schema, turns())


async def get(kept: Documents, text: str, client: str = "a client") -> Document:
    return await kept.get(text, client, trusted_only=False)


async def test_a_document_is_parsed_and_validated_once(kept: Documents) -> None:
    assert await get(kept, "{ __typename }") is await get(kept, "{ __typename }")
    assert await get(kept, "{ __typename }") is not await get(kept, "{  __typename }")


def test_a_document_is_refused_in_the_same_way_each_time(kept: Documents) -> None:
    assert refusal(kept, "{ nothing }") == refusal(kept, "{ nothing }")


@pytest.mark.slow
async def test_the_least_recently_used_document_is_dropped_first(kept: Documents) -> None:
    first, second = await get(kept, "query First { __typename }"), await get(kept, "query Second { __typename }")
    for number in range(KEPT_DOCUMENTS - 2):
        await get(kept, f"query Q{number} {{ __typename }}")
    assert await get(kept, "query First { __typename }") is first  # so that the second is the oldest now
    await get(kept, "query OneMore { __typename }")
    assert await get(kept, "query First { __typename }") is first
    assert await get(kept, "query Second { __typename }") is not second


async def test_the_characters_of_kept_documents_are_limited(kept: Documents) -> None:
    def long(number: int) -> str:
        return f"query Q{number} {{ __typename }}".ljust(KEPT_LENGTH)

    fitting = KEPT_CHARACTERS // KEPT_LENGTH
    first = [await get(kept, long(number)) for number in range(fitting)]
    assert [await get(kept, long(number)) for number in range(fitting)] == first
    for number in range(fitting):
        assert await get(kept, long(number)) is first[number]
    await get(kept, long(fitting))
    assert await get(kept, long(1)) is first[1]
    assert await get(kept, long(0)) is not first[0]


async def test_a_very_long_document_is_served_and_not_kept(kept: Documents) -> None:
    text = "{ __typename }".ljust(KEPT_LENGTH + 1)
    assert await get(kept, text) is not await get(kept, text)


async def test_the_documents_of_one_client_do_not_displace_those_of_another(kept: Documents) -> None:
    mine = await get(kept, "{ __typename }", "a shop")
    for number in range(2 * KEPT_CHARACTERS // KEPT_LENGTH):
        await get(kept, f"query Q{number} {{ __typename }}".ljust(KEPT_LENGTH), "a stranger")

    assert await get(kept, "{ __typename }", "a shop") is mine


async def test_a_refusal_is_kept_as_well(kept: Documents) -> None:
    answers = []
    for _ in range(3):
        with pytest.raises(InvalidDocument) as refused:
            await get(kept, "{ nothing }")
        answers.append([error.formatted for error in refused.value.errors])
        found = refused.value.errors[0]

    assert answers[0] == answers[1] == answers[2]
    with pytest.raises(InvalidDocument) as refused:
        await get(kept, "{ nothing }", "another client")
    assert refused.value.errors[0] is found


async def test_a_document_that_many_send_at_once_is_prepared_once(kept: Documents) -> None:
    sent = [get(kept, PURCHASE, f"client {number}") for number in range(50)]

    first, *others = await asyncio.gather(*sent)

    assert all(document is first for document in others)


async def test_a_document_with_variables_is_kept(kept: Documents) -> None:
    assert await get(kept, PURCHASE) is await get(kept, PURCHASE)


async def test_requests_that_wait_for_one_document_share_its_preparation(schema: GraphQLSchema) -> None:
    kept = Documents(schema, FewTurns(200))
    text = "query Opening { products(first: 100) { edges { cursor node { id name stock soldOut version } } } }"

    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*(get(kept, text, f"client {number}") for number in range(500)))

    assert set(found) == {await get(kept, text)}


async def test_requests_that_wait_for_one_refusal_are_all_refused(kept: Documents) -> None:
    async with asyncio.timeout(PATIENCE):
        waiting = (get(kept, "{ nothing }", f"client {number}") for number in range(100))
        refusals = await asyncio.gather(*waiting, return_exceptions=True)

    assert {str(refusal) for refusal in refusals} == {"Cannot query field 'nothing' on type 'Query'."}
    assert {type(refusal) for refusal in refusals} == {InvalidDocument}


async def test_a_request_that_leaves_does_not_end_the_preparation_for_others(kept: Documents) -> None:
    text = "query Left { __typename }"
    leaving = [asyncio.create_task(get(kept, text, f"client {number}")) for number in range(10)]
    staying = asyncio.create_task(get(kept, text, "a client that stays"))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()

    async with asyncio.timeout(PATIENCE):
        document = await staying

    assert await get(kept, text) is document


async def test_the_documents_of_our_own_pages_are_never_dropped(schema: GraphQLSchema) -> None:
    own = documents()
    kept = Documents(schema, turns(), own)
    first = [await kept.get(text, "a client", trusted_only=True) for text in own]

    for number in range(2 * KEPT_CHARACTERS // KEPT_LENGTH):
        await kept.get(f"query Q{number} {{ __typename }}".ljust(KEPT_LENGTH), "a stranger", trusted_only=True)

    assert [await kept.get(text, "a client", trusted_only=True) for text in own] == first
