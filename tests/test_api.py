"""`open_server`, `serve` and `run`: entry, exit and everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest

import aserve
from aserve.app_signals import SIGNALS
from aserve.types import Environ, StartResponse

from .certificates import client_context, make_certificate, server_context

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def get(family: int, address: Any) -> bytes:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(address)
        client.sendall(GET)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


async def test_open_server_picks_a_free_port_and_accepts_on_entry() -> None:
    async with aserve.open_server(hello) as server:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            answer = await asyncio.to_thread(get, family, (host, server.port))
            assert answer.endswith(b"hello")


async def test_serve_starts_in_a_task_group_and_ends_with_shutdown() -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(aserve.serve, hello, "localhost", 0)
        assert await asyncio.to_thread(get, socket.AF_INET, ("127.0.0.1", server.port))
        server.shutdown()


async def test_cancelling_serve_leaves_nothing_behind() -> None:
    threads, all_tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(aserve.serve, hello, "localhost", 0)
        sockets = server.sockets
        assert await asyncio.to_thread(get, socket.AF_INET, ("127.0.0.1", server.port))
        tasks.cancel_scope.cancel()
    assert [sock.fileno() for sock in sockets] == [-1, -1]
    assert server.state is aserve.ServerState.CLOSED
    left = [thread for thread in set(threading.enumerate()) - threads if "aserve" in thread.name]
    for thread in left:  # at most on their last instructions
        await asyncio.to_thread(thread.join)
    assert asyncio.all_tasks() == all_tasks


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancelling_the_end_itself_does_not_cut_it_short(times: int) -> None:
    """Without anyio, with plain tasks: the drain goes on, and the cancellation is kept."""
    ready = asyncio.Event()
    servers: list[aserve.Server] = []

    async def program() -> None:
        async with aserve.open_server(hello) as server:
            servers.append(server)
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(program())
    await ready.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert servers[0].state is aserve.ServerState.CLOSED


async def test_cancelling_the_start_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    async def program() -> None:
        async with aserve.open_server(hello, "127.0.0.1", port):
            pytest.fail("it must not be entered")

    task = asyncio.create_task(program())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_an_exception_in_the_block_still_drains() -> None:
    with pytest.raises(LookupError):
        async with aserve.open_server(hello) as server:
            raise LookupError
    assert server.state is aserve.ServerState.CLOSED


async def test_a_busy_port_raises_once_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(aserve.ListenError) as caught:
            async with aserve.open_server(hello, "localhost", port):
                pytest.fail("it must not be entered")
    assert caught.value.advice
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_a_host_name_is_resolved_away_from_the_loop() -> None:
    """The suite's guard fails this test when the resolver runs on the loop thread."""
    with pytest.raises(aserve.ListenError, match="is not known"):
        async with aserve.open_server(hello, "no-such-host.invalid"):
            pytest.fail("it must not be entered")


async def test_a_unix_socket_and_its_file_are_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    async with aserve.open_server(hello, uds=str(path)) as server:
        assert (server.url, server.port) == (f"unix://{path}", 0)
        assert (await asyncio.to_thread(get, socket.AF_UNIX, str(path))).endswith(b"hello")
    assert not path.exists()


async def test_sockets_of_the_caller_are_used_and_closed() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    async with aserve.open_server(hello, hooks=aserve.Hooks(sockets=[sock])) as server:
        assert server.port == sock.getsockname()[1]
        assert (await asyncio.to_thread(get, socket.AF_INET, sock.getsockname())).endswith(b"hello")
    assert sock.fileno() == -1


async def test_an_inherited_unix_socket_keeps_its_file(tmp_path: Path) -> None:
    """B9: it belongs to whoever made it."""
    path = tmp_path / "web.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    async with aserve.open_server(hello, fd=sock.detach()):
        assert (await asyncio.to_thread(get, socket.AF_UNIX, str(path))).endswith(b"hello")
    assert path.exists()


async def test_no_sockets_at_all_is_a_mistake() -> None:
    with pytest.raises(aserve.ConfigError, match="pass at least one"):
        async with aserve.open_server(hello, hooks=aserve.Hooks(sockets=[])):
            pytest.fail("it must not be entered")


async def test_hooks_see_the_start_and_each_exchange() -> None:
    ready: list[aserve.Server] = []
    records: list[aserve.ExchangeRecord] = []
    hooks = aserve.Hooks(on_ready=ready.append, on_exchange=records.append)
    async with aserve.open_server(hello, hooks=hooks) as server:
        await asyncio.to_thread(get, socket.AF_INET, ("127.0.0.1", server.port))
    assert ready == [server]
    (record,) = records
    assert record.request is not None
    assert (record.request.method, record.status_code, record.body_sent) == ("GET", 200, 5)
    assert record.complete
    assert record.client == "127.0.0.1"
    assert record.duration > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "80"}, "port: '80' must be an integer"),
        ({"port": 70000}, "port: 70000 is not between 0 and 65535"),
        ({"threads": 0}, "threads: 0 is not between 1 and 10000"),
        ({"grace": "long"}, "grace: 'long' must be a number"),
        ({"treads": 4}, "'treads' is not an option; did you mean 'threads'"),
    ],
)
async def test_a_bad_option_is_one_line(options: dict[str, Any], message: str) -> None:
    """B5: with the option, the value and the fix."""
    with pytest.raises(aserve.ConfigError, match=message) as caught:
        async with aserve.open_server(hello, **options):
            pytest.fail("it must not be entered")
    assert "\n" not in str(caught.value)


def test_an_app_string_is_explained() -> None:
    with pytest.raises(aserve.ConfigError, match="pass the WSGI application itself"):
        aserve.run("app:app")  # type: ignore[arg-type]


async def _asgi(scope: Any, receive: Any, send: Any) -> None: ...


def test_an_asgi_app_is_explained() -> None:
    """It would be called without an error, and answer each request with 500."""
    with pytest.raises(aserve.ConfigError, match="is an ASGI application"):
        aserve.run(_asgi)  # type: ignore[arg-type]


async def test_run_inside_a_loop_names_the_alternative() -> None:
    with pytest.raises(RuntimeError, match=r"use `await aserve\.serve"):
        aserve.run(hello, port=0)


@pytest.mark.parametrize("anyio_backend", ["trio"])
class TestTrio:
    """DESIGN section 3: the same from trio, where the loop runs in a background thread."""

    async def test_open_server(self, anyio_backend: str) -> None:
        threads = set(threading.enumerate())
        async with aserve.open_server(hello) as server:
            answer = await anyio.to_thread.run_sync(get, socket.AF_INET, ("127.0.0.1", server.port))
            assert answer.endswith(b"hello")
        assert server.state is aserve.ServerState.CLOSED
        left = set(threading.enumerate()) - threads
        assert not [thread for thread in left if "aserve" in thread.name]

    async def test_serve_in_a_task_group(self, anyio_backend: str) -> None:
        async with anyio.create_task_group() as tasks:
            server = await tasks.start(aserve.serve, hello, "localhost", 0)
            assert await anyio.to_thread.run_sync(get, socket.AF_INET, ("127.0.0.1", server.port))
            server.shutdown()

    async def test_cancelled(self, anyio_backend: str) -> None:
        async with anyio.create_task_group() as tasks:
            server = await tasks.start(aserve.serve, hello, "localhost", 0)
            tasks.cancel_scope.cancel()
        assert server.state is aserve.ServerState.CLOSED
        assert [sock.fileno() for sock in server.sockets] == [-1, -1]

    async def test_aclose_from_trio(self, anyio_backend: str) -> None:
        async with aserve.open_server(hello) as server:
            await server.aclose()
            assert server.state is aserve.ServerState.CLOSED

    async def test_a_busy_port_raises_here(self, anyio_backend: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(aserve.ListenError):
                async with aserve.open_server(hello, "127.0.0.1", taken.getsockname()[1]):
                    pytest.fail("it must not be entered")

    async def test_an_exception_in_the_block_is_kept(self, anyio_backend: str) -> None:
        with pytest.raises(LookupError):
            async with aserve.open_server(hello) as server:
                raise LookupError
        assert server.state is aserve.ServerState.CLOSED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_with_a_signal_and_puts_the_handlers_back(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in SIGNALS}
    answers: list[bytes] = []

    def ask_then_stop(port: int) -> None:
        answers.append(get(socket.AF_INET, ("127.0.0.1", port)))
        os.kill(os.getpid(), number)

    def on_ready(server: aserve.Server) -> None:
        threading.Thread(target=ask_then_stop, args=(server.port,)).start()

    aserve.run(hello, port=0, hooks=aserve.Hooks(on_ready=on_ready))
    assert answers[0].endswith(b"hello")
    assert {each: signal.getsignal(each) for each in SIGNALS} == before


def test_run_in_another_thread_leaves_signals_alone() -> None:
    servers: list[aserve.Server] = []
    ready = threading.Event()

    def on_ready(server: aserve.Server) -> None:
        servers.append(server)
        ready.set()

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(
        target=aserve.run,
        args=(hello,),
        kwargs={"port": 0, "hooks": aserve.Hooks(on_ready=on_ready)},
    )
    thread.start()
    assert ready.wait(10)
    assert signal.getsignal(signal.SIGINT) is before
    servers[0].shutdown()
    thread.join(10)
    assert not thread.is_alive()


def test_run_by_itself_prints_where_it_is(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A plain script sees the URL and the access lines, without any set-up of its own."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["werkzeug.server.shutdown"]()
        return hello(environ, start_response)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    answers: list[bytes] = []

    def ask() -> None:
        while not answers:
            try:
                answers.append(get(socket.AF_INET, ("127.0.0.1", port)))
            except ConnectionRefusedError:
                continue

    client = threading.Thread(target=ask)
    client.start()
    aserve.run(app, port=port)
    client.join()
    shown = capsys.readouterr().err
    assert f"http://localhost:{port}" in shown
    assert '"GET / HTTP/1.1" 200 5' in shown + caplog.text


async def test_processes_are_for_those_who_own_the_process() -> None:
    with pytest.raises(aserve.ConfigError, match="reload: True belongs to `run`"):
        async with aserve.open_server(hello, reload=True):  # type: ignore[call-arg]
            pass
    with pytest.raises(aserve.ConfigError, match="processes: 2 works with `run`"):
        async with aserve.open_server(hello, processes=2):
            pass


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server and of a client that trusts it."""
    return server_context(), client_context()


async def test_the_callers_ssl_context_is_used(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """B46: and the app knows."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [f"{environ['wsgi.url_scheme']} {environ['HTTPS']}".encode()]

    async with aserve.open_server(app, hooks=aserve.Hooks(ssl_context=tls[0])) as server:
        assert server.url.startswith("https://")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls[1])
        writer.write(GET)
        assert (await reader.read()).endswith(b"https on")
        writer.close()
        await writer.wait_closed()


def test_a_python_without_ssl_serves_plain_http() -> None:
    """B24: TLS is an option of the build; in a process of its own, because modules are kept."""
    program = """if True:
        import sys
        sys.modules["ssl"] = sys.modules["_ssl"] = None
        import asyncio, aserve

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"no TLS here"]

        async def main():
            async with aserve.open_server(app) as server:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
                print((await reader.read()).decode())
                writer.close()

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout.endswith("no TLS here\n"), done.stderr


async def test_a_client_certificate_reaches_the_app(tmp_path: Path) -> None:
    """B45: in PEM; without one there is no such key."""
    path = make_certificate(tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(path))
    server_side.load_cert_chain(path)
    server_side.verify_mode = ssl.CERT_OPTIONAL

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ.get("SSL_CLIENT_CERT", "none").encode()]

    async def ask(client_side: ssl.SSLContext) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_side)
        writer.write(GET)
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return answer.partition("\r\n\r\n")[2]

    async with aserve.open_server(app, hooks=aserve.Hooks(ssl_context=server_side)) as server:
        client_side = ssl.create_default_context(cafile=str(path))
        assert await ask(client_side) == "none"
        client_side.load_cert_chain(path)
        shown = await ask(client_side)
    assert path.read_text().startswith(shown)
    assert shown.startswith("-----BEGIN CERTIFICATE-----")


async def test_a_failed_handshake_hurts_nobody_else(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    """B67: it is a line at debug, and the server lives."""
    caplog.set_level("DEBUG", "aserve.error")
    async with aserve.open_server(hello, hooks=aserve.Hooks(ssl_context=tls[0])) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16" * 100)  # begins like TLS, and is none
        await reader.read()
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls[1])
        writer.write(GET)
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await writer.wait_closed()
    assert "A TLS handshake with" in caplog.text
