"""Serves the page over HTTP and a WebSocket, in a thread of its own: nothing that a browser does delays the stream.

A page from elsewhere gets nothing: requests must name this machine (a defence against DNS rebinding) and sockets must
be opened by our own page. After each message the page's acknowledgement is awaited, so that a slow browser gets the
newest messages only, and no queue grows.
"""

import asyncio
import ipaddress
import math
import socket
import threading
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Self
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from stream.errors import KinetokenError, WireError
from stream.view.hub import Hub
from stream.view.recorded import Recorded

PORT = 8765
"""Where the page is unless asked otherwise; if it is taken, at a free port."""

ACKNOWLEDGE_S = 30.0
"""Seconds after which a page that does not acknowledge is dropped."""

LARGEST_WORD = 64
"""Bytes of the longest message that a page sends."""

PAGES = 16
"""Pages open at once."""

CLOSING_S = 2.0
"""Seconds that closing waits for open pages."""

_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """Serves pages until closed.

    host, port: where to listen; port 0 takes a free one, None `PORT` or, if that is taken, a free one (see `url`).
    about: what a page asks for first, as JSON. hub: what live pages are shown; recorded: what pages of a log are.
    Raises WireError where it cannot listen.
    """

    def __init__(
        self, host: str, port: int | None, about: Callable[[], bytes], hub: Hub, recorded: Recorded | None = None
    ) -> None:
        self._host, self._about, self._hub, self._recorded = host, about, hub, recorded
        self._assets = _read_assets()
        self._socket = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}/"
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="view", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/about", self._tell)
        app.router.add_get("/live", self._live)
        app.router.add_get("/log", self._span)
        app.router.add_get("/{name:.*}", self._asset)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSING_S)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        await self._ended.wait()
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if not self._is_ours(request.host) or (origin and urlsplit(origin).netloc != request.host):
            raise web.HTTPForbidden(text=f"open the page at {self.url}\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine: an address, which no stranger's name server gives, or its name."""
        name = urlsplit(f"//{host}").hostname or ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in ("localhost", self._host.lower(), socket.gethostname().lower())
        return True

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._assets:
            raise web.HTTPNotFound(text=f"nothing here: the page is at {self.url}\n")
        kind = _KINDS[name.rpartition(".")[2]]
        return web.Response(body=self._assets[name], content_type=kind, charset="utf-8")

    async def _tell(self, request: web.Request) -> web.Response:
        return await self._json(self._about)

    async def _span(self, request: web.Request) -> web.Response:
        recorded = self._recorded
        if recorded is None:
            raise web.HTTPNotFound(text="a live stream has no log to show\n")
        try:
            begin, end = float(request.query["from"]), float(request.query["to"])
        except (KeyError, ValueError):
            begin = end = math.nan
        if not 0 <= begin < end < math.inf:
            raise web.HTTPBadRequest(text="ask for from=SECONDS&to=SECONDS, from the start of the log\n")
        return await self._json(lambda: recorded.span(begin, end))

    async def _json(self, work: Callable[[], bytes]) -> web.Response:
        """Answer with what `work`, done in another thread, returns; its errors are told to the page."""
        try:
            body = await asyncio.to_thread(work)
        except KinetokenError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
        return web.Response(body=body, content_type="application/json")

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if "Origin" not in request.headers:
            raise web.HTTPForbidden(text="this socket is the page's own\n")
        if self._hub.pages >= PAGES:
            raise web.HTTPServiceUnavailable(text=f"{PAGES} pages are open: close one\n")
        page = web.WebSocketResponse(max_msg_size=LARGEST_WORD, compress=False)
        await page.prepare(request)
        came, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._hub.mailbox(lambda: _wake(loop, came)) as mailbox:
            while not self._ended.is_set():
                await came.wait()
                came.clear()
                while (batch := mailbox.take()) is not None:
                    try:
                        await page.send_str(batch.decode())
                        answer = await page.receive(timeout=ACKNOWLEDGE_S)
                    except (TimeoutError, ConnectionError):
                        return page
                    if answer.type != WSMsgType.TEXT:
                        return page  # closed, or not our page
        return page


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)


def _read_assets() -> dict[str, bytes]:
    folder = files("stream.view") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, PORT if port is None else port), family=family)
    except OSError as error:
        if port is None:
            return _listen(host, 0)
        raise WireError(
            f"cannot serve the page at {host} port {port}: {error.strerror}: choose another --port, or 0 for a free one"
        ) from error
