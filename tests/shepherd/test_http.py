from __future__ import annotations

import asyncio
import os
import re
import ssl

import pytest
from roost_shepherd import http
from roost_shepherd.errors import ProviderBusy, ProviderUnreachable
from roost_shepherd.http import HttpClient

from tests.support.http_proxy import HttpProxy
from tests.support.local_iam import certificate

pytestmark = pytest.mark.unit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSE = b""  # instead of an answer


class Server:
    """Answers with what it is told, byte for byte; counts connections and requests."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.second = asyncio.Event()
        self.hangs = False

    async def start(self, tls=None) -> None:
        self._server = await asyncio.start_server(self._serve, "localhost", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/token"

    async def stop(self) -> None:
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        for connection in self.connections:
            connection.close()

    async def _serve(self, reader, writer) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length[1])) if length else b""
                self.requests.append(head + body)
                if self.hangs:
                    continue
                answer = self.answers.pop(0) if self.answers else OK
                if answer == CLOSE:
                    break
                writer.write(answer)
                await writer.drain()
                if len(self.requests) == 2:
                    self.second.set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server():
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client():
    client = HttpClient(timeout=1.0)
    yield client
    await client.close()


async def show(client, server):
    return await client.fetch("POST", server.url, body="refresh_token=s3cret")


# -- kept connections ----------------------------------------------------------------------------


async def test_calls_share_a_connection(client, server):
    for _ in range(3):
        assert (await show(client, server)).json() == {}
    assert len(server.connections) == 1


async def test_a_refresh_token_is_shown_once_when_a_kept_connection_breaks(client, server):
    server.answers = [OK, CLOSE]
    await show(client, server)
    with pytest.raises(ProviderUnreachable):
        await show(client, server)
    assert len(server.requests) == 2
    await show(client, server)


async def test_a_refresh_token_is_shown_once_when_the_answer_breaks_off(client, server):
    server.answers = [OK, OK[:20], CLOSE]
    await show(client, server)
    waiting = asyncio.create_task(show(client, server))
    await server.second.wait()
    server.drop()
    with pytest.raises(ProviderUnreachable):
        await waiting
    assert len(server.requests) == 2


async def test_a_provider_that_restarts_between_two_calls_costs_no_failure(client, server):
    await asyncio.gather(*(show(client, server) for _ in range(5)))
    assert len(server.connections) > 1
    server.drop()
    await asyncio.sleep(0.05)
    await asyncio.gather(*(show(client, server) for _ in range(5)))


async def test_a_connection_is_not_used_after_servers_may_have_given_it_up(
    client, server, monkeypatch
):
    monkeypatch.setattr(http, "_KEEP_IDLE", 0.05)
    await show(client, server)
    await asyncio.sleep(0.15)
    await show(client, server)
    assert len(server.connections) == 2
    assert http._KEEP_IDLE < 5  # Node's


async def test_a_closed_client_opens_again(client, server):
    await show(client, server)
    await client.close()
    await show(client, server)
    assert len(server.connections) == 2


# -- limits --------------------------------------------------------------------------------------


async def test_who_does_not_answer_is_given_up_in_time(server):
    server.hangs = True
    client = HttpClient(timeout=0.2)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ProviderUnreachable):
        await show(client, server)
    assert asyncio.get_running_loop().time() - began < 1
    assert len(server.requests) == 1
    await client.close()


async def test_who_answers_without_end_is_given_up(client, server):
    length = 5 * 1024 * 1024
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(length)]
    with pytest.raises(ProviderUnreachable):
        await show(client, server)


async def test_no_redirect_is_followed(client, server):
    there = f"Location: {server.url}\r\n".encode()
    server.answers = [b"HTTP/1.1 307 Elsewhere\r\n" + there + b"Content-Length: 0\r\n\r\n"]
    assert (await show(client, server)).status == 307
    assert len(server.requests) == 1


async def test_no_cookie_is_kept(client, server):
    server.answers = [OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: node=s3cret; Path=/\r\n\r\n")]
    await show(client, server)
    await show(client, server)
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_the_wait_that_a_busy_provider_asks_for_is_told(client, server, status):
    server.answers = [b"HTTP/1.1 %d No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n" % status]
    with pytest.raises(ProviderBusy) as caught:
        await show(client, server)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "answer",
    [
        b"s3cret\r\n\r\n",
        b"HTTP/1.1 200 s3cret\r\ns3cret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\x00: s3cret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Token: s3cret\r\nContent-Length: s3cret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ns3cret\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\ns3cret",
    ],
)
async def test_no_word_of_the_provider_is_in_an_error(client, server, answer):
    server.answers = [answer]
    with pytest.raises(ProviderUnreachable) as caught:
        await show(client, server)
    assert "s3cret" not in f"{caught.value!r} {caught.value.sentence} {caught.value.detail}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# -- TLS -----------------------------------------------------------------------------------------


async def test_the_file_of_cas_decides_and_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_LOOK_AGAIN", 0.0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name)
    server, trusted = Server(), tmp_path / "trusted.crt"
    await server.start(server_tls(tmp_path / "one"))
    client = HttpClient(ca_certs=str(trusted), timeout=2.0)
    with pytest.raises(ProviderUnreachable):
        await show(client, server)  # there is no such file
    trusted.write_bytes((tmp_path / "one/ca.crt").read_bytes())
    await show(client, server)
    await show(client, server)
    assert len(server.connections) == 1
    trusted.write_bytes((tmp_path / "two/ca.crt").read_bytes())
    os.utime(trusted, ns=(1, 1))
    with pytest.raises(ProviderUnreachable, match="localhost") as caught:
        await show(client, server)
    assert "certificate" in caught.value.detail.lower()
    await client.close()
    await server.stop()


def server_tls(folder):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "host.crt", folder / "host.key")
    return context


# -- through a proxy -----------------------------------------------------------------------------


@pytest.fixture
async def proxy():
    proxy = HttpProxy("hidden")
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def behind(tmp_path):
    certificate(tmp_path)
    server = Server()
    await server.start(server_tls(tmp_path))
    yield server
    await server.stop()


async def through(proxy_url, behind, ca_certs):
    client = HttpClient(ca_certs=str(ca_certs), timeout=2.0, http_proxy=proxy_url)
    try:
        return await show(client, behind)
    finally:
        await client.close()


async def test_tls_goes_through_the_proxy_and_is_verified(proxy, behind, tmp_path):
    assert (await through(proxy.url, behind, tmp_path / "ca.crt")).status == 200
    assert proxy.tunnels == [f"localhost:{behind.port}"]
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other")
    with pytest.raises(ProviderUnreachable, match="certificate"):
        await through(proxy.url, behind, tmp_path / "other/ca.crt")
    assert len(behind.requests) == 1


async def test_a_proxy_that_refuses_is_told_without_its_password(proxy, behind, tmp_path):
    wrong = proxy.url.replace("hidden", "another-secret")
    with pytest.raises(ProviderUnreachable, match="the proxy answered HTTP 407") as caught:
        await through(wrong, behind, tmp_path / "ca.crt")
    await proxy.stop()
    with pytest.raises(ProviderUnreachable, match=f"127.0.0.1:{proxy.port}") as gone:
        await through(wrong, behind, tmp_path / "ca.crt")
    for error in (caught.value, gone.value):
        assert "another-secret" not in f"{error!r} {error}"
    assert behind.requests == []
