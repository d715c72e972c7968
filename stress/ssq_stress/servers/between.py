"""What stands between workers and their server, and loses what they say to each other? This program.

It is started as a script: it listens at a socket like the server's own, passes on what comes, and at another
takes orders, until its standard input ends. Whose connections an order means, the kernel says: those of the
process group that gives it, which waits for the answer before it goes on. A request is what a worker sends
until the server answers. The order ends with the conversation, and so with a worker that was killed.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

REQUEST_LOST = "request lost"
"""It does not reach the server."""
REPLY_LOST = "reply lost"
"""The server did it, and its answer does not come back."""
RESET = "reset"
"""The request is not even read: to the worker it is an error, and not the end of a conversation."""
AT_ONCE = "between two operations"
KINDS = (REQUEST_LOST, REPLY_LOST, RESET)
READY, ARMED, OVER = b"ready\n", b"armed\n", b"over\n"
CREDENTIALS = struct.Struct("=iii")
BACKLOG = 512


@dataclass(kw_only=True)
class Cut:
    """What is to be lost: of which kind, and which of a group's requests from now on."""

    kind: str
    number: int
    seen: int = 0
    is_done: bool = False


class Relay:
    """All connections, and what is to be lost on them, by the group of their worker."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.clients: defaultdict[int, set[Client]] = defaultdict(set)
        self.cuts: dict[int, Cut] = {}

    def lie_in_wait(self, group: int) -> None:
        """Read nothing more where the next request is to be refused unread; else read again."""
        for client in list(self.clients[group]):
            client.lie_in_wait(self.cuts.get(group))

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one order, and say what came of it once the worker says that its operation is over."""
        group = _group(writer.get_extra_info("socket"))
        kind, _, number = (await reader.readline()).decode().strip().partition("|")
        with suppress(ConnectionError):
            if kind == AT_ONCE:
                writer.write(b"%d\n" % self._cut_all(group))
            elif kind:
                cut = self.cuts[group] = Cut(kind=kind, number=int(number))
                self.lie_in_wait(group)
                writer.write(ARMED)
                await reader.readline()
                del self.cuts[group]
                self.lie_in_wait(group)
                writer.write(b"%d %d\n" % (cut.is_done, cut.seen))
        writer.close()

    def _cut_all(self, group: int) -> int:
        clients = list(self.clients[group])
        for client in clients:
            client.cut()
        return len(clients)


class Client(asyncio.Protocol):
    """The worker's end of a connection."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._upstream: asyncio.Transport | None = None
        self._is_answered = True
        self._losing: Cut | None = None
        """The cut that will lose the answer."""
        self._unread: socket.socket | None = None
        """The same socket, while nothing is read from it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Go on to the server; nothing is read before it is reached."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._group = _group(transport.get_extra_info("socket"))
        self._relay.clients[self._group].add(self)
        transport.pause_reading()
        self._reaching = asyncio.ensure_future(self._reach())

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            made, _ = await loop.create_unix_connection(lambda: Upstream(self), self._relay.server)
        except OSError:
            self._transport.close()
            return
        if self._transport.is_closing():
            made.close()
            return
        self._upstream = made
        self._transport.resume_reading()
        self.lie_in_wait(self._relay.cuts.get(self._group))

    def data_received(self, data: bytes) -> None:
        """Pass it on, unless it is what is to be lost."""
        assert self._upstream is not None
        cut = self._relay.cuts.get(self._group)
        if self._is_answered and cut is not None and not cut.is_done:
            cut.seen += 1
            if cut.seen == cut.number and cut.kind == REQUEST_LOST:
                cut.is_done = True
                self.cut()
                return
            self._losing = cut if cut.seen == cut.number and cut.kind == REPLY_LOST else None
        self._is_answered = False
        # It holds no more than what a worker asks before it waits for the answer.
        self._upstream.write(data)
        if cut is not None:
            self._relay.lie_in_wait(self._group)

    def answer(self, data: bytes) -> None:
        """Pass an answer back, unless it is what is to be lost."""
        if self._losing is not None:
            self._losing.is_done = True
            self.cut()
            return
        self._is_answered = True
        self._transport.write(data)
        self.lie_in_wait(self._relay.cuts.get(self._group))

    def lie_in_wait(self, cut: Cut | None) -> None:
        """Stop reading if the next request is to be refused unread; else read again."""
        is_next = cut is not None and cut.kind == RESET and not cut.is_done and cut.seen + 1 == cut.number
        if is_next and self._is_answered and self._unread is None and self._upstream is not None:
            self._transport.pause_reading()
            # asyncio lets nobody else watch a socket of its own, but a copy.
            self._unread = self._transport.get_extra_info("socket").dup()
            asyncio.get_running_loop().add_reader(self._unread, self._refuse)
        elif not is_next and self._unread is not None:
            self._forget_unread()
            self._transport.resume_reading()

    def _refuse(self) -> None:
        """Close the connection with a request in it: the kernel then tells the worker of a reset."""
        assert self._unread is not None
        cut = self._relay.cuts[self._group]
        if self._unread.recv(1, socket.MSG_PEEK):
            cut.seen += 1
            cut.is_done = True
        self.cut()
        self._relay.lie_in_wait(self._group)

    def cut(self) -> None:
        """Close both ends."""
        self._forget_unread()
        self._transport.abort()
        if self._upstream is not None:
            self._upstream.abort()

    def close(self) -> None:
        """Close the worker's end, once it has got what is on the way to it."""
        self._forget_unread()
        self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Close the server's end, too, once it has got what is on the way to it."""
        self._forget_unread()
        self._relay.clients[self._group].discard(self)
        if self._upstream is not None:
            self._upstream.close()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            asyncio.get_running_loop().remove_reader(self._unread)
            self._unread.close()
            self._unread = None


class Upstream(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        """Pass it back."""
        self._client.answer(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """Let the worker see that the server has gone."""
        self._client.close()


def _group(connection: socket.socket) -> int:
    """Return the process group of whoever connected, which is its worker's number."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, _, _ = CREDENTIALS.unpack(told)
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return int(pid)


async def _serve(server: str, listen: str, control: str) -> None:
    loop, over, relay = asyncio.get_running_loop(), asyncio.Event(), Relay(server)
    await loop.create_unix_server(lambda: Client(relay), listen, backlog=BACKLOG)
    await asyncio.start_unix_server(relay.converse, control, backlog=BACKLOG)
    loop.add_reader(sys.stdin.fileno(), over.set)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    await over.wait()


def main(arguments: list[str]) -> None:
    """Pass on what comes, until the end of the input."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    asyncio.run(_serve(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
