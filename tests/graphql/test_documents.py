"""Documents: what is refused before it costs anything, what is kept, and how long the worst of them take."""

import asyncio
import inspect
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLSchema, Lexer, OperationDefinitionNode, Source, TokenKind, get_introspection_query

from api.graphql.documents import KEPT_CHARACTERS, KEPT_DOCUMENTS, KEPT_LENGTH, Document, Documents
from api.graphql.extents import MAX_ALIASES, MAX_DEPTH, MAX_FIELDS, MAX_OPERATIONS, MAX_SAME
from api.graphql.schema import make_schema
from api.graphql.validation import MAX_ERRORS, MAX_LENGTH, MAX_TOKENS, InvalidDocument
from api.identity.turns import Turns
from tests.graphql.subscriptions import WATCH, streaming
from tests.server import PURCHASE, Server

STEPS = 16


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return make_schema()._schema


@pytest.fixture
def kept(schema: GraphQLSchema) -> Documents:
    """Documents of the schema, none kept yet."""
    return Documents(schema, turns())


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


def turns() -> Turns:
    return Turns(0.1, 0.4)


async def get(kept: Documents, text: str, client: str = "a client") -> Document:
    return await kept.get(text, client, trusted_only=False)


def refusal(kept: Documents, text: str) -> list[str]:
    """What the document is refused with."""
    with pytest.raises(InvalidDocument) as refused:
        kept.prepare(text)
    return [error.message for error in refused.value.errors]


def introspection_with_everything() -> str:
    """The standard introspection query with every option that this version of graphql-core has."""
    parameters = inspect.signature(get_introspection_query).parameters
    return get_introspection_query(**{name: True for name, each in parameters.items() if each.default in (True, False)})


def count_tokens(text: str) -> int:
    lexer = Lexer(Source(text))
    return next(number for number in itertools.count() if lexer.advance().kind is TokenKind.EOF)


def as_many_as_allowed(before: str, unit: Callable[[int], str], after: str) -> str:
    """The unit over and over between `before` and `after`, up to the limits of tokens and characters."""
    text = before
    tokens = count_tokens(before) + count_tokens(after) + 1
    for number in itertools.count():
        another = unit(number)
        tokens += count_tokens(another)
        if tokens > MAX_TOKENS or len(text) + len(another) + len(after) > MAX_LENGTH:
            break
        text += another
    return text + after


def steps(first: str, each: str, on: str, last: str, count: int) -> str:
    """A query and a chain of fragments; `each` is a format, where `{next}` is the name of the one after."""
    chain = [f"fragment F{step} on {on} {{ {each.format(next=f'F{step + 1}')} }}" for step in range(count)]
    return "\n".join([first, *chain, f"fragment F{count} on {on} {{ {last} }}"])


class TestLimits:
    @pytest.mark.parametrize("query", [get_introspection_query(), introspection_with_everything()])
    async def test_what_tools_send_passes(self, server: Server, query: str) -> None:
        assert (await server.data(query))["__schema"]["queryType"]["name"] == "Query"

    async def test_what_shops_send_passes(self, server: Server) -> None:
        product_id = await server.create_product()
        assert (await server.purchase(product_id, "a shop's buyer"))["status"] == "CONFIRMED"
        orders = '{ orders(userRef: "a shop\'s buyer") { edges { node { product { name } } } } }'
        assert await server.data(orders) == {"orders": {"edges": [{"node": {"product": {"name": "Tee"}}}]}}

    def test_characters(self, kept: Documents) -> None:
        kept.prepare("{ __typename }".ljust(MAX_LENGTH))
        [told] = refusal(kept, "{ __typename }".ljust(MAX_LENGTH + 1))
        assert told == "The document has 20001 characters; 20000 are allowed. Send values as variables."

    def test_tokens(self, kept: Documents) -> None:
        def operations(count: int) -> str:
            each = " ".join(f"f{number}: __typename" for number in range(4))  # 16 tokens, with what is around them
            return " ".join(f"query Q{number} {{ {each} }}" for number in range(count // 16))

        kept.prepare(operations(MAX_TOKENS))
        [told] = refusal(kept, operations(MAX_TOKENS + 16))
        assert told == "Syntax Error: Document contains more than 400 tokens. Parsing aborted."

    def test_depth(self, kept: Documents) -> None:
        def nested(depth: int) -> str:
            return '{ __type(name: "Query")' + "{ ofType" * (depth - 2) + "{ name }" + "}" * (depth - 2) + "}"

        kept.prepare(nested(MAX_DEPTH))
        assert refusal(kept, nested(MAX_DEPTH + 1)) == ["The operation is 21 levels deep; 20 are allowed."]

    def test_depth_through_fragments(self, kept: Documents) -> None:
        first = '{ __type(name: "Query") { ...F0 } }'
        each = "ofType {{ ...{next} }}"
        kept.prepare(steps(first, each, "__Type", "name", MAX_DEPTH - 2))
        [told] = refusal(kept, steps(first, each, "__Type", "name", MAX_DEPTH - 1))
        assert told == "The operation is 21 levels deep; 20 are allowed."

    def test_aliases(self, kept: Documents) -> None:
        def aliased(count: int) -> str:
            return "{" + " ".join(f"a{number}: __typename" for number in range(count)) + "}"

        kept.prepare(aliased(MAX_ALIASES))
        assert refusal(kept, aliased(MAX_ALIASES + 1)) == ["The operation has 11 aliases; 10 are allowed."]

    def test_an_alias_in_a_fragment_counts_wherever_the_fragment_is_spread(self, kept: Documents) -> None:
        def spread(count: int) -> str:
            return (
                "{ products { edges { node {"
                + " ...P" * count
                + "} } } } fragment P on Product { unit: name drop: dropName left: stock }"
            )

        kept.prepare(spread(3))
        assert refusal(kept, spread(4)) == ["The operation has 12 aliases; 10 are allowed."]

    def test_aliases_of_one_operation_are_not_those_of_another(self, kept: Documents) -> None:
        names = [f"Q{number}" for number in range(MAX_ALIASES)]
        document = kept.prepare(
            " ".join(f"query {name} {{ a: __typename b: __typename c: __typename }}" for name in names)
        )
        operations = [each for each in document.syntax_tree.definitions if isinstance(each, OperationDefinitionNode)]
        assert [operation.name and operation.name.value for operation in operations] == names

    @pytest.mark.parametrize(
        "selections",
        [
            "{{ {} }}",
            "{{ ...{{ {} }} }}",
            "{{ ...F }} fragment F on Query {{ {} }}",
            "{{ products {{ edges {{ node {{ id }} }} }} ...{{ {} }} }}",
        ],
    )
    def test_one_name_in_one_place(self, kept: Documents, selections: str) -> None:
        kept.prepare(selections.format("__typename " * MAX_SAME))
        [told] = refusal(kept, selections.format("__typename " * (MAX_SAME + 1)))
        assert told == "__typename is selected 21 times in one place; 20 are allowed."

    def test_one_name_in_places_that_are_merged(self, kept: Documents) -> None:
        def merged(count: int) -> str:
            return "{" + "products { edges { cursor cursor } }" * count + "}"

        kept.prepare(merged(MAX_SAME // 2))
        [told] = refusal(kept, merged(MAX_SAME // 2 + 1))
        assert told == "cursor is selected 22 times in one place; 20 are allowed."

    def test_one_name_in_many_places(self, kept: Documents) -> None:
        kept.prepare("".join(f"query Q{number} {{ __typename }}" for number in range(2 * MAX_SAME)))

    def test_a_fragment_that_nothing_spreads_has_the_depth_of_any(self, kept: Documents) -> None:
        chain = steps("{ __typename }", "products {{ ...{next} }}", "Query", "__typename", MAX_DEPTH)
        assert refusal(kept, chain)[0] == "The fragment F0 is 21 levels deep; 20 are allowed."

    def test_operations(self, kept: Documents) -> None:
        def operations(count: int) -> str:
            return "".join(f"query Q{number} {{ __typename }} " for number in range(count))

        kept.prepare(operations(MAX_OPERATIONS))
        assert refusal(kept, operations(MAX_OPERATIONS + 1)) == ["The document has 51 operations; 50 are allowed."]

    def test_fields_through_fragments(self, kept: Documents) -> None:
        def spread(count: int) -> str:
            ten = "id name dropName stock soldOut opensAt limitPerBuyer createdAt __typename id"
            return "{ products { edges { node {" + " ...P" * count + f"}} }} }} }} fragment P on Product {{ {ten} }}"

        kept.prepare(spread((MAX_FIELDS - 13) // 10))
        [told] = refusal(kept, spread((MAX_FIELDS - 13) // 10 + 1))
        assert told == "The document has 603 fields, fragments included; 600 are allowed."

    def test_more_errors_than_a_reader_can_use_are_not_told(self, kept: Documents) -> None:
        told = refusal(kept, "{" + " ".join(f"nothing{number}" for number in range(200)) + "}")
        assert len(told) == MAX_ERRORS + 1
        assert told[-1] == "Too many validation errors, error limit reached. Validation aborted."

    async def test_a_message_does_not_repeat_all_that_was_sent(self, server: Server) -> None:
        code, told = await server.refusal("{ " + "x" * 15_000 + " }")
        assert code == "BAD_USER_INPUT"
        assert told.startswith("Cannot query field 'xxx")
        assert len(told) < 600


class TestRecursion:
    @pytest.mark.parametrize(
        "query",
        [
            "{" + "a{" * 200 + "}" * 200 + "}",
            "{ product(id: " + "[" * 240 + "]" * 240 + ") { id } }",
            "{ product(id: " + "{a:" * 120 + "1" + "}" * 120 + ") { id } }",
            "query ($a: " + "[" * 240 + "Int" + "]" * 240 + ") { __typename }",
            "{" * 499,
            "[" * 499,
        ],
    )
    async def test_nesting_ends_in_a_clear_refusal(self, server: Server, query: str) -> None:
        answer = await server.ask(query)
        assert "data" not in answer
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"BAD_USER_INPUT"}

    @pytest.mark.parametrize("depth", [20, 40, 80, 120])
    async def test_inline_fragments_in_one_another_are_no_levels(self, server: Server, depth: int) -> None:
        assert await server.data("{" + "...{" * depth + "__typename" + "}" * depth + "}") == {"__typename": "Query"}

    @pytest.mark.parametrize("length", [1, 2, 3, 40])
    async def test_fragments_in_a_circle(self, server: Server, length: int) -> None:
        circle = [f"fragment F{each} on Query {{ ...F{(each + 1) % length} }}" for each in range(length)]
        code, told = await server.refusal("{ ...F0 } " + " ".join(circle))
        assert code == "BAD_USER_INPUT"
        assert told.startswith("Cannot spread fragment 'F0' within itself")

    async def test_fields_in_a_circle_of_fragments(self, server: Server) -> None:
        answer = await server.ask(
            '{ __type(name: "Order") { ...A } } '
            "fragment A on __Type { fields { type { ...B } } } fragment B on __Type { ofType { ...A ...B } }"
        )
        assert "data" not in answer
        assert "Cannot spread fragment 'A' within itself" in "".join(error["message"] for error in answer["errors"])

    @pytest.mark.parametrize(
        "query",
        [
            "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
            "{ __schema { types { possibleTypes { interfaces { possibleTypes { interfaces { name } } } } } } }",
            '{ __type(name: "Query") { ...A } } fragment A on __Type { fields { type { ...B } } } '
            "fragment B on __Type { fields { type { ...C } } } fragment C on __Type { fields { type { name } } }",
        ],
    )
    async def test_introspection_of_introspection_is_refused(self, server: Server, query: str) -> None:
        assert await server.refusal(query) == ("BAD_USER_INPUT", "Maximum introspection depth exceeded")


class TestKept:
    async def test_a_document_is_parsed_and_validated_once(self, kept: Documents) -> None:
        assert await get(kept, "{ __typename }") is await get(kept, "{ __typename }")
        assert await get(kept, "{ __typename }") is not await get(kept, "{  __typename }")

    def test_what_is_refused_stays_refused(self, kept: Documents) -> None:
        assert refusal(kept, "{ nothing }") == refusal(kept, "{ nothing }")

    @pytest.mark.slow
    async def test_the_least_recently_used_goes_first(self, kept: Documents) -> None:
        first, second = await get(kept, "query First { __typename }"), await get(kept, "query Second { __typename }")
        for number in range(KEPT_DOCUMENTS - 2):
            await get(kept, f"query Q{number} {{ __typename }}")
        assert (
            await get(kept, "query First { __typename }") is first
        )  # used again, so that the second is the oldest now
        await get(kept, "query OneMore { __typename }")
        assert await get(kept, "query First { __typename }") is first
        assert await get(kept, "query Second { __typename }") is not second

    async def test_many_long_documents_are_bounded_by_their_characters(self, kept: Documents) -> None:
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

    async def test_a_very_long_document_is_served_and_not_kept(self, kept: Documents) -> None:
        text = "{ __typename }".ljust(KEPT_LENGTH + 1)
        assert await get(kept, text) is not await get(kept, text)

    async def test_what_one_client_sends_does_not_push_out_the_documents_of_another(self, kept: Documents) -> None:
        mine = await get(kept, "{ __typename }", "a shop")
        for number in range(2 * KEPT_CHARACTERS // KEPT_LENGTH):
            await get(kept, f"query Q{number} {{ __typename }}".ljust(KEPT_LENGTH), "a stranger")

        assert await get(kept, "{ __typename }", "a shop") is mine

    async def test_a_refusal_is_kept_as_well(self, kept: Documents) -> None:
        told = []
        for _ in range(3):
            with pytest.raises(InvalidDocument) as refused:
                await get(kept, "{ nothing }")
            told.append([error.formatted for error in refused.value.errors])
            found = refused.value.errors[0]

        assert told[0] == told[1] == told[2]
        with pytest.raises(InvalidDocument) as refused:
            await get(kept, "{ nothing }", "another client")
        assert refused.value.errors[0] is found

    async def test_what_many_send_at_once_is_prepared_once(self, kept: Documents) -> None:
        sent = [get(kept, PURCHASE, f"client {number}") for number in range(50)]

        first, *others = await asyncio.gather(*sent)

        assert all(document is first for document in others)

    async def test_the_same_document_with_other_variables_is_the_same(self, kept: Documents) -> None:
        assert await get(kept, PURCHASE) is await get(kept, PURCHASE)


DOUBLING: dict[str, Callable[[int], str]] = {
    "fragments that double": lambda count: steps("{ ...F0 }", "...{next} ...{next}", "Query", "__typename", count),
    "fragments that double an alias": lambda count: steps(
        "{ ...F0 }", "a: __typename ...{next} ...{next}", "Query", "__typename", count
    ),
    "fragments that double fields": lambda count: steps(
        '{ __type(name: "Query") { ...F0 } }',
        "a: ofType {{ ...{next} }} b: ofType {{ ...{next} }}",
        "__Type",
        "name",
        count,
    ),
}
"""Attacks of so many steps, each of which doubles the work of who follows it."""

ATTACKS = {
    "one field over and over": as_many_as_allowed("{", lambda _: " __typename", "}"),
    "one object over and over": as_many_as_allowed("{", lambda _: " regions{name}", "}"),
    "one connection over and over": as_many_as_allowed("{", lambda _: " products{edges{cursor}}", "}"),
    "empty selections": as_many_as_allowed("{", lambda _: " products{}", "}"),
    "one argument over and over": as_many_as_allowed("{", lambda _: ' product(id:"x"){id}', "}"),
    "arguments that differ": as_many_as_allowed("{", lambda n: f" product(id:{n}){{id}}", "}"),
    "inline fragments": as_many_as_allowed("{", lambda _: " ...{__typename}", "}"),
    "inline fragments on interfaces": as_many_as_allowed(
        'mutation{purchase(input:{productId:"x",userRef:"x"}){',
        lambda n: f" ...on Purchase{('Confirmed', 'SoldOut', 'NotOpen', 'Busy')[n % 4]}{{status message}}",
        "}}",
    ),
    "one fragment over and over": as_many_as_allowed("{", lambda _: " ...F", "} fragment F on Query{__typename}"),
    "fragments that are not used": as_many_as_allowed(
        "{__typename}", lambda n: f" fragment F{n} on Query{{__typename}}", ""
    ),
    "fragments that are not there": as_many_as_allowed("{", lambda n: f" ...F{n}", "}"),
    "fragments side by side": "{"
    + " ".join(f"...F{n}" for n in range(50))
    + "}"
    + "".join(f" fragment F{n} on Query{{__typename}}" for n in range(50)),
    "two fragments full of the same": "{...F ...G}"
    + "".join(f" fragment {name} on Query{{" + " __typename" * 140 + "}" for name in "FG"),
    **{name: doubling(STEPS) for name, doubling in DOUBLING.items()},
    "fragments that all spread all": "{ ...F0 }"
    + "".join(f" fragment F{n} on Query{{" + "".join(f" ...F{m}" for m in range(12)) + "}" for n in range(12)),
    "fragments in a large circle": "{ ...F0 }"
    + "".join(f" fragment F{n} on Query{{...F{(n + 1) % 50}}}" for n in range(50)),
    "operations": as_many_as_allowed("", lambda n: f" query Q{n}{{__typename}}", ""),
    "operations that share a fragment": as_many_as_allowed(
        "fragment F on Query{product(id:$a){id} order(id:$b){id}}", lambda n: f" query Q{n}($a:ID!,$b:ID!){{...F}}", ""
    ),
    "operations of one name": as_many_as_allowed("", lambda _: " query Q{__typename}", ""),
    "variables": as_many_as_allowed("query(", lambda n: f" $v{n}:ID", "){__typename}"),
    "variables of one name": as_many_as_allowed("query(", lambda _: " $v:ID", "){__typename}"),
    "variables that are used": as_many_as_allowed(
        "query(" + " ".join(f"$v{n}:ID!" for n in range(40)) + "){", lambda n: f" product(id:$v{n % 40}){{id}}", "}"
    ),
    "variables of unknown types": as_many_as_allowed(
        "query(", lambda n: f" $v{n}:PurchaseConfirmd{n}", "){__typename}"
    ),
    "a large list": as_many_as_allowed("{product(id:[", lambda _: " 1", "]){id}}"),
    "large lists side by side": as_many_as_allowed("{", lambda _: " product(id:[1 2 3 4 5 6 7 8 9]){id}", "}"),
    "a large object": as_many_as_allowed("mutation{cancelOrder(input:{", lambda n: f" orderIdd{n}:1", "}){id}}"),
    "unknown fields": as_many_as_allowed("{", lambda n: f" prodcuts{n}", "}"),
    "unknown arguments": as_many_as_allowed("{product(", lambda n: f" idd{n}:1", "){id}}"),
    "unknown directives": as_many_as_allowed("{__typename", lambda _: " @inclde", "}"),
    "long unknown names": as_many_as_allowed("{", lambda n: f" {'x' * 1500}{n}", "}"),
    "a directive over and over": as_many_as_allowed("{__typename", lambda _: " @include(if:true)", "}"),
    "directives on every field": as_many_as_allowed("{", lambda _: " __typename @include(if:true)", "}"),
    "aliases of one name": as_many_as_allowed("{", lambda _: " a:__typename", "}"),
    "a long comment": "#" + "x" * (MAX_LENGTH - 20) + "\n{__typename}",
    "a long string": '{product(id:"' + "x" * (MAX_LENGTH - 30) + '"){id}}',
    "a long block string": '{product(id:"""' + "x\n" * (MAX_LENGTH // 2 - 20) + '"""){id}}',
    "a long escaped string": '{product(id:"' + "\\u0041" * (MAX_LENGTH // 6 - 10) + '"){id}}',
    "a long name": "{" + "x" * (MAX_LENGTH - 10) + "}",
    "a long number": "{products(first:" + "9" * (MAX_LENGTH - 50) + "){edges{cursor}}}",
    "empty lines": "\n" * (MAX_LENGTH - 20) + "{__typename}",
    "all of introspection, aliased": "{"
    + " ".join(f"a{n}:__schema{{...S}}" for n in range(MAX_ALIASES))
    + "} fragment S on __Schema{types{name fields{name description args{name type{name ofType{name ofType{name}}}} "
    "type{name ofType{name ofType{name}}}} possibleTypes{name fields{name type{name}}}}}",
    "introspection": introspection_with_everything(),
}


ANSWERED = {
    "one fragment over and over",
    "a long comment",
    "empty lines",
    "all of introspection, aliased",
    "introspection",
}
"""Those that cost what they are worth. All others are refused."""

MOST = 10
"""Times the cost of introspection, which every tool sends, that a document may cost. The costliest that we know, all of
introspection with as many aliases as are allowed, costs four to six times as much."""

ATTEMPTS = 5
"""Of which one must do: what else the machine does can only make a document look more costly than it is."""


NUMBERS = itertools.count()


async def cost(server: Server, query: str) -> tuple[float, dict[str, Any]]:
    """Seconds of the processor that a request takes, of client and server, which are this thread; and the answer."""
    started = time.thread_time()
    answer = await server.ask(query)
    return time.thread_time() - started, answer


async def costs_of_introspection(server: Server) -> list[float]:
    """What the standard introspection query costs, three times over. None of them is kept from before."""
    return [(await cost(server, f"{get_introspection_query()} # {next(NUMBERS)}"))[0] for _ in range(3)]


def calls(function: Callable[[], object]) -> int:
    """Calls of functions, and returns from them, until the function has returned."""
    number = 0

    def count(*_: object) -> None:
        nonlocal number
        number += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return number


@pytest.fixture(scope="module")
async def introspections(shared_server: Server) -> list[float]:
    """What introspection costs on this machine."""
    return await costs_of_introspection(shared_server)


class TestCost:
    @pytest.mark.parametrize("attack", ATTACKS)
    @pytest.mark.slow
    async def test_no_document_costs_more_than_a_few_introspections(
        self, server: Server, introspections: list[float], attack: str
    ) -> None:
        costs: list[float] = []
        for attempt in range(ATTEMPTS):
            took, answer = await cost(server, f"{ATTACKS[attack]} # {attempt}"[:MAX_LENGTH])
            codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
            assert codes == (set() if attack in ANSWERED else {"BAD_USER_INPUT"}), answer["errors"]
            costs.append(took)
            if min(costs) <= MOST * min(introspections):
                return
            introspections = await costs_of_introspection(server)  # the machine may be busier by now
        pytest.fail(f"it costs {min(costs) / min(introspections):.1f} times as much as introspection")

    @pytest.mark.parametrize("attack", DOUBLING)
    def test_fragments_that_double_cost_twice_as_much_at_twice_the_length(
        self, schema: GraphQLSchema, attack: str
    ) -> None:
        half, whole = (DOUBLING[attack](count) for count in (STEPS // 2, STEPS))
        assert all(
            "are allowed" in told for text in (half, whole) for told in refusal(Documents(schema, turns()), text)
        )
        assert calls(lambda: refusal(Documents(schema, turns()), whole)) < 3 * calls(
            lambda: refusal(Documents(schema, turns()), half)
        )

    async def test_thousands_of_values_of_a_wrong_type_cost_no_more_than_those_of_the_right_one(
        self, server: Server
    ) -> None:
        async def refuse(value: object) -> tuple[float, list[str]]:
            started = time.thread_time()
            async with streaming(server, WATCH, {"ids": [value] * 40_000}) as stream:
                _, response = await stream.event()
            return time.thread_time() - started, [error["message"] for error in response["errors"]]

        right: list[float] = []
        wrong: list[float] = []
        for _ in range(ATTEMPTS):  # 40 ms and 110 ms where it was measured
            took, told = await refuse(1234)
            assert len(told) == 1
            assert told[0].startswith("productIds must be a UUID")
            right.append(took)
            took, told = await refuse(None)
            assert len(told) == MAX_ERRORS + 1
            assert told[-1].startswith("Too many errors processing variables")
            wrong.append(took)
            if min(wrong) <= min(right):
                return
        pytest.fail(f"they cost {min(wrong) / min(right):.1f} times as much")


def test_the_limits_leave_room_for_introspection(schema: GraphQLSchema) -> None:
    text = introspection_with_everything()
    assert count_tokens(text) * 2 < MAX_TOKENS
    assert MAX_DEPTH > 15
    Documents(schema, turns()).prepare(text)
