"""Tells systemd how a service is: ready, alive, stopping. Does nothing where no systemd asks.

The protocol is sd_notify(3): one datagram a message to the socket that the environment names.
"""

import os
import socket
import time


class Service:
    """The service manager's ear, from the environment's NOTIFY_SOCKET and WATCHDOG_USEC. For use from one thread."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path  # @ stands for the abstract namespace
        watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = os.environ.get("WATCHDOG_USEC", "") if watched else ""
        self._interval = int(interval) / 2e6 if interval.isdigit() else 0.0
        self._beat_due = 0.0

    def ready(self, status: str) -> None:
        """Say that the service works, and in one line what it does."""
        self._send(f"READY=1\nSTATUS={status.splitlines()[0]}")

    def beat(self) -> None:
        """Say, often enough for the watchdog, that the caller does not hang: call it as often as you like."""
        if self._interval and (now := time.monotonic()) >= self._beat_due:
            self._beat_due = now + self._interval
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(), self._address)
            except OSError:
                return  # nobody listens: no reason to stop
