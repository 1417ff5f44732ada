"""Flow control over HTTP: when a connection is read.

It borrows uvicorn's FlowControl, until uvicorn can hold back the requests behind an event stream.
"""

from uvicorn.protocols.http.flow_control import FlowControl


class HeldFlow(FlowControl):
    """uvicorn's FlowControl, which does not resume reading while it is held. An event stream waits for its client to
    disconnect, and resumes reading for that. Requests behind it would pile up."""

    _held = False

    def hold(self) -> None:
        self._held = True
        self.pause_reading()

    def release(self) -> None:
        self._held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        if not self._held:
            super().resume_reading()
