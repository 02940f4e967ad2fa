"""A listed reader that asks much and reads nothing, until killed: `python -m tests.drills.asker ADDRESS FOLDER`."""

import sys
import time

import zmq

from stream.wire.keyring import Keyring
from stream.wire.requests import Info, encode_request

REQUESTS = 1000
"""As many as one peer may send at once, about."""


def main() -> None:
    """Ask, say so, wait for the end."""
    own = Keyring(sys.argv[2])
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.CURVE_PUBLICKEY, own.identity().public)
        socket.set(zmq.CURVE_SECRETKEY, own.identity().secret)
        socket.set(zmq.CURVE_SERVERKEY, own.allowed()["producer"])
        socket.set(zmq.HEARTBEAT_IVL, 10)
        socket.set(zmq.RCVHWM, 1)
        socket.connect(sys.argv[1])
        for number in range(REQUESTS):
            socket.send(encode_request(Info(id=number)))
        print("asked", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    main()
