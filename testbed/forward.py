"""Carries the machine's loopback connections into the testbed.

Run as ``python forward.py NAMESPACE [LISTEN:PORT=TARGET:PORT ...]``.  The listening sockets are
made in the machine's network namespace; then the process moves into the switch's, and every
connection that it opens from there on starts at the bridge.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000


def _enter(namespace: str) -> None:
    # os.setns came with Python 3.12.
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.close(descriptor)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()  # the other direction may go on


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            there, back = await asyncio.open_connection(host, port)
            ends.append(back)
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, back))
                both.create_task(_pump(there, writer))
        except* OSError:
            pass  # one side is gone: so is the other, below
        finally:
            for end in ends:
                end.close()

    server = await asyncio.start_server(carry, sock=listener)
    await server.serve_forever()


async def _main(namespace: str, routes: list[str]) -> None:
    listening = []
    for route in routes:
        near, _, far = route.partition("=")
        address, _, port = near.partition(":")
        listener = socket.create_server((address, int(port)), backlog=512)
        host, _, target = far.partition(":")
        listening.append((listener, host, int(target)))
    _enter(namespace)
    await asyncio.gather(*(_serve(*item) for item in listening))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2:]))
