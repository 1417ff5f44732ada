"""Starts the `dropzero` command as forks of one process that has imported it: half of a start is imports.

A command is a process of its own, with its own arguments, environment, folder, standard streams and signal handlers, as
`python -m api` would start it. Only /proc shows the command line and the environment of this program instead. So a test
of the start itself, or of what a process inherits from its parent, runs `python -m api`.

`python tests/fork_server.py SOCKET` listens on a Unix socket until its standard input closes. `tests/forks.py` is its
client. A request has three open files, the standard streams of the command, and a JSON object with its `arguments`,
`variables` and `folder`. The response has two lines: the process id at once, and its exit status when it has ended.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time

PRELOADED = ("api.__main__", "api.cli", "api.server", "api.app", "api.announcement")

LARGEST = 1024 * 1024
"""Bytes of a request."""


def main(path: str) -> bool:
    """Serve requests. Returns True in the process of a command, which has to run it, and False when standard input has
    closed."""
    for module in PRELOADED:
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork has none of the other threads"
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the run and for the commands
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets a watcher that has ended
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(100)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            readable, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in readable:
                return False
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    return start(connection)


def start(connection: socket.socket) -> bool:
    """Start a command, and return True in its process. This process watches it, reports its end, and ends."""
    body, streams, _, _ = socket.recv_fds(connection, LARGEST, 3)
    while more := connection.recv(LARGEST):
        body += more
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        connection.close()
        become(json.loads(body), streams)
        return True
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    connection.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(wanted: dict[str, object], streams: list[int]) -> None:
    """Make this process what `python -m api` is at its start."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(str(wanted["folder"]))
    os.environ.clear()
    os.environ.update(wanted["variables"])  # type: ignore[call-overload]
    sys.argv = ["dropzero", *wanted["arguments"]]  # type: ignore[misc]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    time.tzset()
    tempfile.tempdir = None
    # What worker processes, which are started anew, import first.
    sys.modules["__main__"].__spec__ = sys.modules["api.__main__"].__spec__


if __name__ == "__main__" and main(sys.argv[1]):
    sys.modules["api.__main__"].main()
