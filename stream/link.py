"""Keeps a reader's link alive where libzmq alone would not."""

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.sockets import Socket

_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED


class LinkKeeper:
    """Opens the link of a connected socket again after libzmq has given it up.

    libzmq connects again after a lost link, but never after a peer that broke the protocol, such as by a message
    above the size limit: the socket would stay silent for ever, whoever listens at the address by then.
    """

    def __init__(self, socket: Socket, address: str) -> None:
        self._socket = socket
        self._address = address
        self._monitor = socket.get_monitor_socket(_EVENTS)

    def mend(self) -> None:
        """Connect again if the link is gone and nobody is at it. Call this when nothing is heard."""
        given_up = False
        while self._monitor.poll(0):
            # A disconnect is followed at once by a retry, or by nothing.
            given_up = recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED
        if given_up:
            self._socket.disconnect(self._address)
            self._socket.connect(self._address)

    def close(self) -> None:
        """Stop watching. Safe to call twice."""
        if not self._monitor.closed:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
