"""An HTTP proxy that makes tunnels (CONNECT), and may ask for a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re


class HttpProxy:
    """Start it with ``await start()``; ``tunnels`` are the places that were asked for."""

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.tunnels: list[str] = []
        self.refused = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        user = f"hub:{self.password}@" if self.password else ""
        return f"http://{user}127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.match(r"CONNECT (\S+):(\d+) ", head)
            pair = base64.b64encode(f"hub:{self.password}".encode()).decode()
            if found is None or (self.password and f"Basic {pair}" not in head):
                self.refused += 1
                answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                writer.write(answer)
                await writer.drain()
                writer.close()
                return
            self.tunnels.append(f"{found[1]}:{found[2]}")
            there, back = await asyncio.open_connection(found[1], int(found[2]))
            self._writers.append(back)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
