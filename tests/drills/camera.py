"""Cameras that fail, and what the stream makes of it."""

import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from stream.client import TokenStream
from stream.wire.packets import Packet

from .result import Figure, Plan, below, exactly
from .rig import PATIENCE, Child, free_address, module, wait_for

RESUMED = 2.0
"""Seconds after the end of a fault within which tokens flow again."""


def run(plan: Plan) -> list[Figure]:
    """Let a camera raise, give nothing, hang, repeat its time stamps and change its size; kill a camera's server.

    The camera and the pose model are doubles, the producer and its reader are real. Tokens must flow again within
    2 s of the fault's end, the first of them marked as reset where there was a pause, without a lost number, and
    the producer must end with 0 when asked to.
    """
    faults = {"nothing": 1.0} if plan.quick else FAULTS
    figures: list[Figure] = []
    for fault, seconds in faults.items():
        figures += _device(fault, seconds)
    for seconds in (0.5,) if plan.quick else (1.0, 10.0):
        figures += _server(seconds)
    return figures


FAULTS = {"raises": 2.0, "nothing": 2.0, "hangs": 60.0, "repeats": 2.0, "resizes": 2.0}


def _device(fault: str, seconds: float) -> list[Figure]:
    address = free_address()
    flags = ["--camera", "0", "--bind", address]
    with Child(module("tests.drills.faulty_camera", fault, str(seconds), *flags)) as producer:

        def told(what: str) -> float | None:
            return next((float(line.split()[1]) for _, line in producer.out if line.startswith(what)), None)

        return _watch(f"{fault} {seconds:g} s", producer, address, told, pauses=fault != "resizes")


def _server(seconds: float) -> list[Figure]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = free_address()
    flags = ["--video", f"http://127.0.0.1:{port}/live", "--bind", address]
    times: dict[str, float] = {}
    with ExitStack() as servers:

        def serve() -> Child:
            server = servers.enter_context(Child(module("tests.drills.mjpeg", str(port))))
            wait_for(lambda: server.out, "the camera's server")
            return server

        first = serve()
        with Child(module("tests.drills.faulty_camera", "none", "0", *flags)) as producer:

            def told(what: str) -> float | None:
                """Kill the server once tokens flow; start it again when it was away long enough."""
                now = time.monotonic()
                if "begin" not in times:
                    first.kill()
                    times["begin"] = now
                elif "end" not in times and now > times["begin"] + seconds:
                    serve()
                    times["end"] = time.monotonic()
                return times.get(what)

            return _watch(f"server away {seconds:g} s", producer, address, told, pauses=True)


def _watch(what: str, producer: Child, address: str, told: Callable[[str], float | None], pauses: bool) -> list[Figure]:
    """Read until tokens flow again after the fault, then ask the producer to end."""
    resumed: float | None = None
    first_after: Packet | None = None
    packets = 0
    with TokenStream(address) as stream:
        until = time.monotonic() + 2 * PATIENCE + 10
        while resumed is None and time.monotonic() < until and producer.process.poll() is None:
            heard = stream.poll(0.1)
            begin, end = (told("begin"), told("end")) if packets > 3 else (None, None)
            if heard is None or not isinstance(heard.message, Packet):
                continue
            packets += 1
            # The hop that a pause cuts short goes out with the first frame after it, but shows what was before it.
            if begin and end and heard.message.t / 1e9 > end:
                resumed, first_after = heard.monotonic / 1e9 - end, heard.message
        producer.send(signal.SIGTERM)
        code = producer.end()
        gaps = stream.total.gaps
    figures = [
        below(f"{what}: tokens again after", RESUMED, float("nan") if resumed is None else resumed, "s"),
        exactly(f"{what}: gaps", 0, gaps),
        exactly(f"{what}: exit code", 0, code),
    ]
    if pauses:
        figures.append(exactly(f"{what}: marked as reset", True, bool(first_after and first_after.reset)))
    return figures
