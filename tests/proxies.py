"""Real proxies before real servers, each without rights in a folder of its own."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.patience import PATIENCE, until
from tests.programs import find_server

NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log errors.log;
events {{ worker_connections 512; }}
http {{
access_log off;
client_body_temp_path body; proxy_temp_path proxy;
fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
{configuration}
}}
"""

HAPROXY = """
global
    maxconn 200
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend here
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    server one 127.0.0.1:{server}
"""


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@asynccontextmanager
async def running_nginx(port: int, configuration: str) -> AsyncIterator[Path]:
    """Run an nginx at this port, and yield the file of its errors. `configuration` is the content of its `http`
    block."""
    options = ["-c", "nginx.conf", "-e", "errors.log"]
    with _folder("nginx") as folder:
        (folder / "nginx.conf").write_text(NGINX.format(configuration=configuration))
        async with _running(find_server("nginx"), ["-p", str(folder), *options], port):
            yield folder / "errors.log"


@asynccontextmanager
async def running_haproxy(port: int, server: int) -> AsyncIterator[None]:
    """Run an haproxy that listens at one port, and connects to the server at the other."""
    with _folder("haproxy") as folder:
        configuration = folder / "haproxy.cfg"
        configuration.write_text(HAPROXY.format(port=port, server=server))
        async with _running(find_server("haproxy"), ["-db", "-f", str(configuration)], port):
            yield


def _user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Make a folder of the user that the proxy runs as, who has no access to the folder of the test."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as path:
        user = _user()
        if user is not None:
            shutil.chown(path, user)
        yield Path(path)


@asynccontextmanager
async def _running(program: str, arguments: list[str], port: int) -> AsyncIterator[None]:
    """Run the program until the block is left. Yields once it listens at this port."""
    process = await asyncio.create_subprocess_exec(program, *arguments, user=_user(), start_new_session=True)
    try:
        await until(lambda: process.returncode is not None or _accepts(port))
        assert process.returncode is None, "it says above why it has not started"
        yield
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
