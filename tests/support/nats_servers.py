"""nats-server with JetStream on loopback: one, or a cluster, whose nodes can be killed and started again."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest

PATIENCE = 60.0


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class NatsServers:
    """Servers in folders of their own. extra: lines for the configuration of each; js: whether they have JetStream."""

    def __init__(self, folder: Path, count: int = 1, extra: str = "", js: bool = True) -> None:
        program = shutil.which("nats-server") or shutil.which("/usr/sbin/nats-server")
        if program is None:
            pytest.skip("no nats-server here: apt-get install nats-server")
        self._program = program
        self.ports = free_ports(count)
        routes = free_ports(count)
        self._files = []
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * count
        for index, port in enumerate(self.ports):
            home = folder / f"node{index}"
            home.mkdir()
            lines = [f"server_name: node{index}", f"listen: 127.0.0.1:{port}", f"log_file: {home / 'log'}"]
            if js:
                lines.append(f"jetstream {{ store_dir: {home / 'store'} }}")
            if count > 1:
                known = ", ".join(f"nats://127.0.0.1:{route}" for route in routes)
                lines.append(f"cluster {{ name: ours, listen: 127.0.0.1:{routes[index]}, routes: [{known}] }}")
            (home / "conf").write_text("\n".join([*lines, extra, ""]))
            self._files.append(home / "conf")

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self, index: int = 0) -> None:
        """Start a node and wait until it answers."""
        self.processes[index] = subprocess.Popen(
            [self._program, "-c", str(self._files[index])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.ports[index])).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "nats-server does not start"
                time.sleep(0.02)

    def kill(self, index: int = 0) -> None:
        """Kill a node as a loss of power does."""
        if process := self.processes[index]:
            process.kill()
            process.wait()
            self.processes[index] = None

    def __enter__(self) -> Self:
        for index in range(len(self.ports)):
            self.start(index)
        return self

    def __exit__(self, *error: object) -> None:
        for index in range(len(self.ports)):
            self.kill(index)
