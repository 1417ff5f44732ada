"""The attacker: a process of its own, at an address of its own."""

import asyncio
import gc
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe

import uvloop

from api.process import raise_file_limit
from bench.abuse.attack import Attack, Manner, Tally, Target
from bench.abuse.catalogue import ATTACKS
from bench.abuse.sockets import CLASSES, Connection

ADDRESS = "127.0.0.2"
"""The address that its connections come from. Those of the honest buyers come from 127.0.0.1."""

START_TIMEOUT = 30.0
OPEN_TIMEOUT = 180.0
"""Seconds within which sockets that stay must be open. 15,000 sockets take a minute."""

END_TIMEOUT = 20.0
OPENING = 200
"""Connections that are opened at the same time."""

REFUSED_PAUSE = 0.02
"""Seconds between two tries to open a connection."""


class Attacker:
    """The handle of the process."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def begin(self) -> None:
        """Begin the attack. Returns once the attack is under way."""
        self._pipe.send("begin")
        await self._answer(OPEN_TIMEOUT)

    async def end(self) -> Tally:
        """End the attack: all its connections are reset."""
        self._pipe.send("end")
        tally: Tally = await self._answer(END_TIMEOUT)
        return tally

    async def _answer(self, seconds: float) -> Tally:
        if not await asyncio.to_thread(self._pipe.poll, seconds):
            raise SystemExit(f"the attacker did not answer within {seconds:g} s")
        answer: Tally = self._pipe.recv()
        return answer


@contextmanager
def attacker(attack: Attack, target: Target) -> Iterator[Attacker]:
    """Yield a process that is ready to attack, and end it with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_attack, args=(theirs, attack.name, target), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_TIMEOUT):
            raise SystemExit(f"the attacker did not start within {START_TIMEOUT:g} s")
        ours.recv()
        yield Attacker(ours)
    finally:
        ours.close()
        process.terminate()
        process.join()


def _attack(pipe: Pipe, name: str, target: Target) -> None:
    raise_file_limit()
    gc.disable()  # the process lives for seconds
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Campaign(ATTACKS[name], target).run(pipe))


class _Campaign:
    """The part that runs in the process. It keeps every connection open, or opens the next one."""

    def __init__(self, attack: Attack, target: Target) -> None:
        self._attack = attack
        self._target = target
        self._tally = Tally()
        self._open: set[Connection] = set()
        self._doors = asyncio.Semaphore(OPENING)

    async def run(self, pipe: Pipe) -> None:
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        cpu = time.process_time()
        begun = [asyncio.Event() for _ in range(self._attack.connections)]
        keeping = [asyncio.create_task(self._keep(event)) for event in begun]
        if self._attack.manner in (Manner.SUBSCRIPTIONS, Manner.IDLE):
            await asyncio.gather(*(event.wait() for event in begun))
            self._tally = Tally(connections=self._tally.connections)
            for connection in self._open:
                connection.tally = self._tally
            cpu = time.process_time()
        pipe.send("under way")
        await asyncio.to_thread(pipe.recv)
        self._tally.cpu = time.process_time() - cpu
        for task in keeping:
            task.cancel()
        for connection in self._open:
            connection.transport.abort()
        pipe.send(self._tally)
        await asyncio.sleep(0.2)  # for the resets to be sent

    async def _keep(self, begun: asyncio.Event) -> None:
        while True:
            connection = CLASSES[self._attack.manner](self._attack, self._target, self._tally)
            try:
                async with self._doors:
                    await self._connect(connection)
                    self._open.add(connection)
                    await connection.ready.wait()
            except OSError as error:
                self._tally.answers[f"cannot connect: {type(error).__name__}"] += 1
                await asyncio.sleep(REFUSED_PAUSE)
                continue
            begun.set()
            await connection.gone.wait()
            self._open.discard(connection)

    async def _connect(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, self._target.host, self._target.port, local_addr=(ADDRESS, 0))
