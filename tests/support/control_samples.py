"""A producer's sockets for the tests, and a relay on the way to its readers that loses what it is told to."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import zmq

from stream.client import TokenStream
from stream.publish.control import ControlServer
from stream.publish.publisher import Publisher
from stream.subscribe.control_client import Asker
from stream.wire.packets import Packet, PacketError, decode
from stream.wire.requests import Reply, Request
from wire_samples import PATIENCE, hop_of


class Source:
    """A publisher with a control socket. Further arguments are those of `ControlServer`."""

    def __init__(self, bind: str = "tcp://127.0.0.1:*", history: float = 600.0, **control: Any) -> None:
        self.publisher = Publisher(bind, "demo", history=history)
        self.control = ControlServer(self.publisher.history, beside=self.publisher.address, **control)
        self.publisher.control = self.control.told
        self.address = self.publisher.address

    def publish(self, count: int = 1, **changes: Any) -> list[Packet]:
        """Publish packets with these fields."""
        return [self.publisher.publish(**hop_of(**changes)) for _ in range(count)]

    def ask(self, request: Request) -> Reply:
        """Return the control socket's answer."""
        with Asker(self.control.address) as asker:
            reply = asker.wait(request)
        assert reply is not None, "no answer"
        return reply

    def read(self, stream: TokenStream, done: Callable[[], bool] | int, patience: float = PATIENCE) -> list[Packet]:
        """Read, with signs of life, until `done`, or so many packets; return the packets."""
        packets: list[Packet] = []
        deadline = time.monotonic() + patience
        while not (len(packets) >= done if isinstance(done, int) else done()):
            assert time.monotonic() < deadline, f"only {len(packets)} packets came; {stream.total}, {stream.lost}"
            self.publisher.status(0, {})
            heard = stream.poll(0.02)
            if heard and isinstance(heard.message, Packet):
                packets.append(heard.message)
        return packets

    def close(self) -> None:
        self.publisher.close()
        self.control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Relay:
    """Stands between a publisher and its readers and loses the packets for which `loses` is true."""

    def __init__(self, upstream: str, loses: Callable[[Packet], bool]) -> None:
        self.loses = loses
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._up, self._down = self._context.socket(zmq.XSUB), self._context.socket(zmq.XPUB)
        for socket in (self._up, self._down):
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.SNDHWM, 0)
            socket.set(zmq.RCVHWM, 0)
        self._down.set(zmq.XPUB_VERBOSE, 1)
        self._up.connect(upstream)
        self._down.bind("tcp://127.0.0.1:*")
        self.address = self._down.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._up.close()
        self._down.close()
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._up, zmq.POLLIN)
        poller.register(self._down, zmq.POLLIN)
        while not self._stop.is_set():
            there = dict(poller.poll(20))
            if self._down in there:
                self._up.send(self._down.recv())
            if self._up in there:
                frame = self._up.recv()
                if not self._lost(frame):
                    self._down.send(frame)

    def _lost(self, frame: bytes) -> bool:
        try:
            return self.loses(decode(frame))
        except PacketError:
            return False
