"""What api/cycle.py borrows of uvicorn. See test_borrowed.py."""

from tests.loans import call, loans

HTTP = "uvicorn.protocols.http.httptools_impl"
CYCLE = "find what uvicorn's httptools_impl.py has instead, and change Cycle; see tests/protocol/test_written.py"

CYCLE_LOANS = [
    *loans(
        "cycle.py",
        f"{HTTP}:RequestResponseCycle",
        CYCLE,
        "chunked_encoding default_headers disconnected expected_content_length flow keep_alive message_event "
        "on_response response_complete response_started scope transport waiting_for_100_continue",
        hooks="send",
    ),
    call(
        "cycle.py",
        f"{HTTP}:RequestResponseCycle.__init__",
        CYCLE,
        *("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event"),
        *("expect_100_continue", "keep_alive", "on_response"),
    ),
    *loans("cycle.py", HTTP, CYCLE, "HEADER_RE HEADER_VALUE_RE STATUS_LINE"),
    *loans(
        "cycle.py",
        f"{HTTP}:HttpToolsProtocol",
        CYCLE,
        "access_logger app_state client flow headers logger on_response_complete parser scheme server "
        "server_state transport",
    ),
]
