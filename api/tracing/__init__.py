"""Traces: what each request went through, sent to an OpenTelemetry collector; and the ids of requests in the log.

`span.py`, `tracing.py` and `export.py` import opentelemetry, and are loaded when traces are on. This package imports
nothing else of the project, and every other may import it.
"""
