"""Compiled operations: what an operation of a kept document does is worked out once, not in each request.

graphql-core finds the fields, types and arguments of an operation anew in each request. Here they are found the first
time and kept with the document, as graphql-jit does for Node.js. The responses are graphql-core's, byte for byte
(tests/graphql/differential). graphql-core also does what is rare here: it completes values of unusual kinds, makes the
errors of fields, and explains variables that are not valid.

`operation.py` is the entry. `selection.py` has the fields of one object type, and `values.py` completes what their
resolvers return. `arguments.py` and `variables.py` read the input, and `run.py` is one execution.
"""
