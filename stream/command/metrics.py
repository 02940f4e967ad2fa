"""Prometheus metrics and a health check over HTTP, on an address of their own; the live path never waits for them.

Numbers that the program counts anyway are read when somebody asks. What fails in reading one is left out.
"""

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from stream.errors import WireError
from stream.wire.hosts import is_ipv6_only

PREFIX = "kinetoken"

LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
"""Upper ends of the histogram's bins, s."""

REQUEST_S = 5.0
"""Seconds within which a client must have asked and taken the answer, however slowly it drips."""

CLIENTS = 32
"""Clients that are answered at once; more are hung up on."""

_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):)?(?P<port>\d{1,5})")

Kind = Literal["counter", "gauge"]
Read = Callable[[], float | Mapping[str, float] | None]


@dataclass(frozen=True)
class _Number:
    name: str
    help: str
    kind: Kind
    label: str | None
    read: Read


class Monitor(Collector):
    """Serves `/metrics` and `/health` until closed.

    address: HOST:PORT, or a port alone on this machine's loopback; 0 takes a free one (see `address`). subject: what
    the latency histogram is about. Raises ValueError for a malformed address, WireError where it cannot listen.
    """

    def __init__(self, address: str, subject: str) -> None:
        self._numbers: list[_Number] = []
        self._checks: dict[str, Callable[[], str | None]] = {}
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._latency = Histogram(
            f"{PREFIX}_latency_seconds", f"Time from {subject}.", buckets=LATENCIES, registry=self._registry
        )
        self._registry.register(self)
        host, port = split_address(address)
        try:
            self._server = _listen(host, port, self)
        except OSError as error:
            raise WireError(
                f"cannot serve metrics at {address}: {error.strerror}: choose another --metrics address"
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="monitor", daemon=True)
        self._thread.start()

    def show(self, name: str, told: str, kind: Kind, read: Read, label: str | None = None) -> None:
        """Add a number: its name without prefix, what it is, how it is read, in another thread, when asked for.

        label: `read` returns numbers by the values of this label. None is no number.
        """
        self._numbers.append(_Number(f"{PREFIX}_{name}", told, kind, label, read))

    def check(self, name: str, problem: Callable[[], str | None]) -> None:
        """Add a check of health: it returns what is wrong, None if nothing is."""
        self._checks[name] = problem

    def latency(self, seconds: float) -> None:
        """Count a latency."""
        self._latency.observe(seconds)

    def health(self) -> tuple[bool, bytes]:
        """Return whether all is well, and what the checks say as JSON."""
        problems = {}
        for name, problem in self._checks.items():
            try:
                said = problem()
            except Exception as error:  # a broken check is no health
                said = f"cannot be told: {error!r}"
            if said:
                problems[name] = said
        status = "failing" if problems else "ok"
        return not problems, msgspec.json.encode({"status": status, "problems": problems, "time": time.time()})

    def metrics(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Read the numbers; prometheus_client calls this."""
        for number in self._numbers:
            family = CounterMetricFamily if number.kind == "counter" else GaugeMetricFamily
            metric = family(number.name, number.help, labels=[number.label] if number.label else None)
            try:
                value = number.read()
                if isinstance(value, Mapping):
                    for label, each in dict(value).items():
                        metric.add_metric([label], each)
                elif value is not None:
                    metric.add_metric([], value)
            except Exception:  # what is being counted may change or close meanwhile
                continue
            yield metric

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, [IPv6]:PORT or PORT. Raises ValueError."""
    match = _ADDRESS.fullmatch(address)
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"--metrics {address}: write HOST:PORT, such as 127.0.0.1:9464, or a port alone")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


class _Server(ThreadingHTTPServer):
    """Answers each client in a thread of its own: so many at once, and each for so long, whatever they do."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if is_ipv6_only(host) else socket.AF_INET
        self._begun: dict[Any, float] = {}  # when each link began
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a client, if there are not too many."""
        if len(self._begun) >= CLIENTS:
            self.shutdown_request(request)
            return
        self._begun[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Hang up on who takes too long; called several times a second."""
        late = time.monotonic() - REQUEST_S
        for request, begun in list(self._begun.items()):
            if begun < late:
                with suppress(OSError):  # it has hung up
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        """Let go of a client."""
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _listen(host: str, port: int, monitor: Monitor) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S

        def do_GET(self) -> None:
            """Answer."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._reply(200, CONTENT_TYPE_LATEST, monitor.metrics())
            elif path == "/health":
                well, told = monitor.health()
                self._reply(200 if well else 503, "application/json", told)
            else:
                self._reply(404, "text/plain", b"there are /metrics and /health\n")

        def _reply(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    return _Server(host, port, Handler)
