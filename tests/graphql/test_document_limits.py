"""The limits of a document. A document over a limit is refused before it costs anything."""

import pytest
from graphql import GraphQLSchema, get_introspection_query

from api.graphql.document_limits import (
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_INTROSPECTIONS,
    MAX_OPERATIONS,
    MAX_ROOT_FIELDS,
    MAX_SAME,
)
from api.graphql.documents import Documents
from api.graphql.validation import MAX_ERRORS, MAX_LENGTH, MAX_TOKENS, MAX_TOKENS_AT_ONCE
from tests.graphql.documents import count_tokens, introspection_with_everything, refusal, steps, turns
from tests.server import Server


@pytest.fixture
def documents(schema: GraphQLSchema) -> Documents:
    return Documents(schema, turns())


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


class TestLimits:
    @pytest.mark.parametrize("query", [get_introspection_query(), introspection_with_everything()])
    async def test_what_tools_send_passes(self, server: Server, query: str) -> None:
        assert (await server.data(query))["__schema"]["queryType"]["name"] == "Query"

    async def test_what_shops_send_passes(self, server: Server) -> None:
        product_id = await server.create_product()
        assert (await server.purchase(product_id, "a shop's buyer"))["status"] == "CONFIRMED"
        orders = '{ orders(userRef: "a shop\'s buyer") { edges { node { product { name } } } } }'
        assert await server.data(orders) == {"orders": {"edges": [{"node": {"product": {"name": "Tee"}}}]}}

    def test_characters_are_limited(self, documents: Documents) -> None:
        documents.prepare("{ __typename }".ljust(MAX_LENGTH))
        [message] = refusal(documents, "{ __typename }".ljust(MAX_LENGTH + 1))
        assert message == "The document has 20001 characters; 20000 are allowed. Send values as variables."

    def test_tokens_are_limited(self, documents: Documents) -> None:
        def operations(count: int) -> str:
            each = " ".join(f"f{number}: __typename" for number in range(9))  # 31 tokens, with the name and the braces
            return " ".join(f"query Q{number} {{ {each} }}" for number in range(count // 31))

        documents.prepare(operations(MAX_TOKENS))
        [message] = refusal(documents, operations(MAX_TOKENS + 31))
        assert message == "Syntax Error: Document contains more than 1000 tokens. Parsing aborted."

    def test_tokens_of_a_definition_are_limited(self, documents: Documents) -> None:
        def variables(count: int) -> str:
            return "query (" + " ".join(f"$v{number}: ID" for number in range((count - 7) // 4)) + ") { now }"

        [message] = refusal(documents, "{ now } " + variables(MAX_TOKENS_AT_ONCE + 4))
        assert message == "Syntax Error: A definition contains more than 400 tokens. Parsing aborted."
        assert "tokens" not in refusal(documents, "{ now } " + variables(MAX_TOKENS_AT_ONCE))[0]

    def test_depth_is_limited(self, documents: Documents) -> None:
        def nested(depth: int) -> str:
            return '{ __type(name: "Query")' + "{ ofType" * (depth - 2) + "{ name }" + "}" * (depth - 2) + "}"

        documents.prepare(nested(MAX_DEPTH))
        assert refusal(documents, nested(MAX_DEPTH + 1)) == ["The operation is 21 levels deep; 20 are allowed."]

    def test_depth_is_counted_through_fragments(self, documents: Documents) -> None:
        first = '{ __type(name: "Query") { ...F0 } }'
        each = "ofType {{ ...{next} }}"
        documents.prepare(steps(first, each, "__Type", "name", MAX_DEPTH - 2))
        [message] = refusal(documents, steps(first, each, "__Type", "name", MAX_DEPTH - 1))
        assert message == "The operation is 21 levels deep; 20 are allowed."

    @pytest.mark.parametrize("text", ["{{ {} }}", "{{ ...F }} fragment F on Query {{ {} }}"])
    def test_the_fields_at_the_root_are_limited(self, documents: Documents, text: str) -> None:
        def aliased(count: int) -> str:
            return text.format(" ".join(f"a{number}: __typename" for number in range(count)))

        documents.prepare(aliased(MAX_ROOT_FIELDS))
        [message] = refusal(documents, aliased(MAX_ROOT_FIELDS + 1))
        assert message == "The operation has 51 fields at its root; 50 are allowed."

    def test_readings_of_the_schema_are_limited(self, documents: Documents) -> None:
        def aliased(count: int) -> str:
            return "{" + " ".join(f'a{number}: __type(name: "Query") {{ name }}' for number in range(count)) + "}"

        documents.prepare(aliased(MAX_INTROSPECTIONS))
        [message] = refusal(documents, aliased(MAX_INTROSPECTIONS + 1))
        assert message == "The operation reads the schema 11 times; 10 are allowed."

    def test_aliases_below_the_root_are_not_limited(self, documents: Documents) -> None:
        """Nothing is raised."""
        documents.prepare("{ regions {" + " ".join(f"a{number}: name" for number in range(99)) + "} }")

    @pytest.mark.parametrize(
        "selections",
        [
            "{{ {} }}",
            "{{ ...{{ {} }} }}",
            "{{ ...F }} fragment F on Query {{ {} }}",
            "{{ products {{ edges {{ node {{ id }} }} }} ...{{ {} }} }}",
        ],
    )
    def test_a_name_in_one_place_is_limited(self, documents: Documents, selections: str) -> None:
        documents.prepare(selections.format("__typename " * MAX_SAME))
        [message] = refusal(documents, selections.format("__typename " * (MAX_SAME + 1)))
        assert message == "__typename is selected 21 times in one place; 20 are allowed."

    def test_a_name_is_counted_through_places_that_are_merged(self, documents: Documents) -> None:
        def merged(count: int) -> str:
            return "{" + "products { edges { cursor cursor } }" * count + "}"

        documents.prepare(merged(MAX_SAME // 2))
        [message] = refusal(documents, merged(MAX_SAME // 2 + 1))
        assert message == "cursor is selected 22 times in one place; 20 are allowed."

    def test_a_name_in_many_places_is_allowed(self, documents: Documents) -> None:
        """Nothing is raised."""
        documents.prepare("".join(f"query Q{number} {{ __typename }}" for number in range(2 * MAX_SAME)))

    def test_the_depth_of_an_unused_fragment_is_limited(self, documents: Documents) -> None:
        chain = steps("{ __typename }", "products {{ ...{next} }}", "Query", "__typename", MAX_DEPTH)
        assert refusal(documents, chain)[0] == "The fragment F0 is 21 levels deep; 20 are allowed."

    def test_operations_are_limited(self, documents: Documents) -> None:
        def operations(count: int) -> str:
            return "".join(f"query Q{number} {{ __typename }} " for number in range(count))

        documents.prepare(operations(MAX_OPERATIONS))
        assert refusal(documents, operations(MAX_OPERATIONS + 1)) == ["The document has 51 operations; 50 are allowed."]

    def test_fields_are_counted_through_fragments(self, documents: Documents) -> None:
        def spread(count: int) -> str:
            ten = "id name dropName stock soldOut opensAt limitPerBuyer createdAt __typename id"
            return "{ products { edges { node {" + " ...P" * count + f"}} }} }} }} fragment P on Product {{ {ten} }}"

        documents.prepare(spread((MAX_FIELDS - 13) // 10))
        [message] = refusal(documents, spread((MAX_FIELDS - 13) // 10 + 1))
        assert message == "The document has 603 fields, fragments included; 600 are allowed."

    def test_the_errors_of_a_document_are_limited(self, documents: Documents) -> None:
        messages = refusal(documents, "{ regions {" + " ".join(f"nothing{n}" for n in range(200)) + "} }")
        assert len(messages) == MAX_ERRORS + 1
        assert messages[-1] == "Too many validation errors, error limit reached. Validation aborted."

    async def test_an_error_does_not_repeat_the_whole_document(self, server: Server) -> None:
        code, message = await server.refusal("{ " + "x" * 15_000 + " }")
        assert code == "GRAPHQL_VALIDATION_FAILED"
        assert message.startswith("Cannot query field 'xxx")
        assert len(message) < 600


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
    async def test_deep_nesting_is_refused(self, server: Server, query: str) -> None:
        answer = await server.ask(query)
        assert "data" not in answer
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"GRAPHQL_PARSE_FAILED"}

    @pytest.mark.parametrize("depth", [20, 40, 80, 120])
    async def test_nested_inline_fragments_add_no_depth(self, server: Server, depth: int) -> None:
        assert await server.data("{" + "...{" * depth + "__typename" + "}" * depth + "}") == {"__typename": "Query"}

    @pytest.mark.parametrize("length", [1, 2, 3, 40])
    async def test_fragments_in_a_circle_are_refused(self, server: Server, length: int) -> None:
        circle = [f"fragment F{each} on Query {{ ...F{(each + 1) % length} }}" for each in range(length)]
        code, message = await server.refusal("{ ...F0 } " + " ".join(circle))
        assert code == "GRAPHQL_VALIDATION_FAILED"
        assert message.startswith("Cannot spread fragment 'F0' within itself")

    async def test_fragments_in_a_circle_through_fields_are_refused(self, server: Server) -> None:
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
        assert await server.refusal(query) == ("GRAPHQL_VALIDATION_FAILED", "Maximum introspection depth exceeded")


def test_the_limits_leave_room_for_introspection(schema: GraphQLSchema) -> None:
    """The document is prepared without an error."""
    text = introspection_with_everything()
    assert count_tokens(text) * 2 < MAX_TOKENS_AT_ONCE
    assert MAX_DEPTH > 15
    Documents(schema, turns()).prepare(text)
