"""A link that is cut without a word is noticed, taken up anew, and what was missed comes after all."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self

import pytest

from control_samples import Source
from stream.client import TokenStream
from stream.wire.packets import Packet
from wire_samples import PATIENCE


class Wire:
    """TCP on the way to a port of this machine; while it is cut, nothing passes and nobody is told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.whole = threading.Event()
        self.whole.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.whole.set()
        for end in [self._listener, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.whole.wait()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        cut = False
        with suppress(OSError):
            while data := source.recv(65536):
                # What was on its way when the link was cut is gone, and so is all of this connection.
                cut = cut or not self.whole.is_set()
                if not cut:
                    sink.sendall(data)


def test_a_cut_link_is_taken_up_and_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.subscribe.link.SHORTEST", 0.3)
    monkeypatch.setattr("stream.subscribe.link.BEATS", 0)  # the shortest silence counts
    with Source() as source:
        port = int(source.address.rpartition(":")[2])
        with Wire(port) as wire, TokenStream(f"tcp://127.0.0.1:{wire.port}") as stream:
            got: list[int] = []

            def run(seconds: float, until: int | None = None) -> None:
                end = time.monotonic() + seconds
                while time.monotonic() < end and (until is None or until not in got):
                    source.publisher.status(0, {})
                    heard = stream.poll(0.02)
                    if heard and isinstance(heard.message, Packet):
                        got.append(heard.message.seq)

            run(PATIENCE / 10)
            source.publish(3)
            run(PATIENCE, until=2)
            wire.whole.clear()
            source.publish(5)
            run(1.0)
            assert got == [0, 1, 2]
            assert stream.reconnects > 0
            wire.whole.set()
            source.publish(1)
            run(PATIENCE, until=8)
            assert got == list(range(9))
            assert stream.lost == []
            assert stream.total.repaired >= 5
