"""What the GraphQL modules borrow of graphql-core and Strawberry."""

from tests.loans import Loan, call, loans

EXECUTION = "find what graphql-core's execution/executor.py has instead, and change ReferenceExecution"
COMPILED = "run tests/graphql/differential, and do in api/graphql/compiled what graphql-core's executor does instead"
RESOLVERS = "compare api/graphql/compiled/resolvers.py with from_resolver of Strawberry's schema_converter.py"
VALIDATION = "compare _validate and _parse with graphql-core's validate() and parse(), and change them alike"
PUBLIC = "find how a field's declaration and its resolver are found in the schema now, and change _is_declared"

GRAPHQL = [
    *loans("graphql/execution.py", "strawberry.schema:Schema", "find Strawberry's graphql-core schema", "_schema"),
    *loans(
        "graphql/reference.py",
        "strawberry.schema.schema:StrawberryGraphQLCoreExecutionContext",
        EXECUTION,
        "async_helpers context_value",
    ),
    call("graphql/execution.py", "graphql:create_source_event_stream", EXECUTION, "executor"),
    *loans("graphql/reference.py", "graphql.pyutils", EXECUTION, "gather_with_cancel Path AwaitableOrValue"),
    *(
        Loan("graphql/reference.py", "graphql.execution.executor:Executor", name, EXECUTION, hook, tuple(names.split()))
        for name, hook, names in (
            ("build", False, "schema document context_value raw_variable_values operation_name max_coercion_errors"),
            ("complete_iterable_value", True, "item_type field_details_list info path items position_context"),
            ("complete_awaitable_value", True, "return_type field_details_list info path result position_context"),
            (
                "complete_list_item_value",
                False,
                "item complete_results item_type field_details_list info item_path position_context",
            ),
        )
    ),
    *(
        Loan("graphql/compiled", "graphql.execution.executor:Executor", name, COMPILED, False, tuple(names.split()))
        for name, names in (
            ("__init__", "schema fragment_definitions fragments root_value context_value operation variable_values"),
            ("complete_value", "return_type field_details_list info path result position_context"),
            ("complete_leaf_value", "return_type result"),
            ("ensure_valid_runtime_type", "runtime_type_name return_type field_details_list info result"),
            ("handle_field_error", "raw_error return_type field_details_list path"),
            ("collected_errors", ""),
        )
    ),
    *loans("graphql/compiled", "graphql.execution.executor:CollectedErrors", COMPILED, "add errors"),
    *loans("graphql/compiled", "graphql.execution.executor", COMPILED, "invalid_return_type_error"),
    *loans("graphql/compiled", "graphql.pyutils", COMPILED, "gather_with_cancel Path"),
    call(
        "graphql/compiled",
        "graphql.execution.collect_fields:collect_fields",
        COMPILED,
        *("schema", "fragments", "variable_values", "runtime_type", "operation"),
    ),
    call(
        "graphql/compiled",
        "graphql.execution.collect_fields:collect_subfields",
        COMPILED,
        *("schema", "fragments", "variable_values", "operation", "return_type", "field_details_list"),
    ),
    *loans("graphql/compiled", "graphql.execution.collect_fields", COMPILED, "FieldDetails FragmentDetails"),
    *loans("graphql/compiled", "graphql.execution.values", COMPILED, "VariableValues VariableValueSource"),
    call(
        "graphql/compiled",
        "graphql.execution.get_variable_signature:get_variable_signature",
        COMPILED,
        *("schema", "var_def_node"),
    ),
    call("graphql/compiled", "graphql.utilities.coerce_input_value:coerce_default_value", COMPILED, "input_value"),
    *loans("graphql/compiled", "strawberry.execution", COMPILED, "optimized_is_awaitable"),
    *loans("graphql/compiled", "strawberry.schema.schema", COMPILED, "_OperationContextAwareGraphQLResolveInfo"),
    *loans(
        "graphql/compiled",
        "strawberry.types.field:StrawberryField",
        RESOLVERS,
        "arguments base_resolver default_resolver extensions is_basic_field is_subscription python_name",
    ),
    *loans(
        "graphql/compiled",
        "strawberry.types.fields.resolver:StrawberryResolver",
        RESOLVERS,
        "info_parameter parent_parameter root_parameter self_parameter wrapped_func",
    ),
    *loans(
        "graphql/compiled",
        "strawberry.schema.schema_converter:GraphQLCoreConverter",
        RESOLVERS,
        "DEFINITION_BACKREF config exception_handlers scalar_registry",
    ),
    *loans(
        "graphql/compiled",
        "strawberry.types.arguments",
        RESOLVERS,
        "InputContext _is_leaf_type _is_optional_leaf_type convert_argument",
    ),
    *loans("graphql/compiled", "strawberry.types.base", RESOLVERS, "get_object_definition"),
    *loans("graphql/validation.py", "graphql.language.lexer:Lexer", VALIDATION, "token source"),
    *loans("graphql/validation.py", "graphql.language:Token", VALIDATION, "next prev"),
    *loans("graphql/validation.py", "graphql.language", VALIDATION, "ParallelVisitor"),
    *loans("graphql/validation.py", "graphql", VALIDATION, "TypeInfoVisitor OverlappingFieldsCanBeMergedRule"),
    call("graphql/validation.py", "graphql.language.parser:Parser.__init__", VALIDATION, "lexer", "max_lexical_tokens"),
    call("graphql/validation.py", "graphql:ValidationContext.__init__", VALIDATION, "schema", "type_info", "on_error"),
    *loans(
        "graphql/purchase.py",
        "graphql:GraphQLField",
        "find what graphql-core calls to resolve a field, and install the resolver of `purchase` there",
        "resolve",
    ),
    *loans("graphql/public.py", "strawberry.types.field:StrawberryField", PUBLIC, "is_basic_field metadata"),
    call(
        "graphql/origins.py",
        "strawberry.http.websocket_origin:is_same_origin",
        "copy the function, of 20 lines, from strawberry-graphql 0.341.2",
        "origin",
        "host",
    ),
]
