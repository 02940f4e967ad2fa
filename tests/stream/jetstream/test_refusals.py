"""Brokers that are full, do not let us in or keep packets otherwise: one line each, and nothing is lost."""

import asyncio
import logging
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from log_samples import hops
from nats_servers import PATIENCE, NatsServers
from stream.client import TokenStream
from stream.errors import RefusedError
from stream.jetstream.address import parse_address
from stream.jetstream.publisher import JetStreamPublisher

nats = pytest.importorskip("nats")

ANN = "authorization { users = [ { user: ann, password: right } ] }"


def refused(servers: NatsServers, login: str = "", options: str = "", scheme: str = "nats") -> str:
    """What a writer is refused with."""
    return said_to(JetStreamPublisher(parse_address(f"{scheme}://{login}{servers.hosts}{options}", "writer")))


def said_to(to: JetStreamPublisher) -> str:
    deadline = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            to.room(0.0)
            time.sleep(0.02)
    except RefusedError as error:
        return str(error)
    finally:
        to.close(0)
    raise AssertionError("let in")


def make_stream(servers: NatsServers, **config: Any) -> None:
    """Make a JetStream stream for our subjects, as an administrator does."""

    async def make() -> None:
        client = await nats.connect(f"nats://{servers.hosts}")
        await client.jetstream().add_stream(name="THEIRS", subjects=["tok.>"], **config)
        await client.close()

    asyncio.run(make())


def test_wrong_passwords_are_refused_and_not_said(tmp_path: Path) -> None:
    with NatsServers(tmp_path, extra=ANN) as servers:
        for login in ("ann:wr0ng@", ""):
            told = refused(servers, login)
            assert "check them in the address" in told
            assert "wr0ng" not in told
        with TokenStream(f"nats://ann:wr0ng@{servers.hosts}") as tokens, pytest.raises(RefusedError):
            tokens.poll(PATIENCE)
        to = JetStreamPublisher(parse_address(f"nats://ann:right@{servers.hosts}", "writer"))
        to.take(hops(1)[0])
        assert to.close(PATIENCE) == 0


def test_a_user_without_rights_is_told_which(tmp_path: Path) -> None:
    rights = 'authorization { users = [ { user: ann, password: right, permissions { publish: ["$JS.>"] } } ] }'
    with NatsServers(tmp_path, extra=rights) as servers:
        to = JetStreamPublisher(parse_address(f"nats://ann:right@{servers.hosts}", "writer"))
        to.take(hops(1)[0])
        assert "tok.demo" in said_to(to)


def test_missing_files_of_credentials_and_of_tls_are_refused(tmp_path: Path) -> None:
    with NatsServers(tmp_path) as servers:
        with pytest.raises(RefusedError, match="check the file of the option creds"):
            refused(servers, options=f"?creds={tmp_path / 'none.creds'}")
        with pytest.raises(RefusedError, match="check ca, cert and key"):
            refused(servers, options=f"?ca={tmp_path / 'none.pem'}", scheme="tls")


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with NatsServers(tmp_path, extra=f"tls {{ cert_file: {certificate}, key_file: {key} }}") as servers:
        to = JetStreamPublisher(parse_address(f"tls://{servers.hosts}?ca={certificate}", "writer"))
        to.take(hops(1)[0])
        assert to.close(PATIENCE) == 0
        assert "check tls:// and the option ca" in refused(servers, scheme="tls")


def test_servers_without_jetstream_are_refused(tmp_path: Path) -> None:
    with NatsServers(tmp_path, js=False) as servers:
        assert "has no JetStream" in refused(servers)


def test_replicas_that_one_server_cannot_give_are_refused(tmp_path: Path) -> None:
    with NatsServers(tmp_path) as servers:
        assert "replicas" in refused(servers, options="?replicas=3")


def test_a_stream_that_keeps_packets_otherwise_is_refused(tmp_path: Path) -> None:
    with NatsServers(tmp_path) as servers:
        make_stream(servers, retention="workqueue")
        assert "lets go of packets once they are read" in refused(servers)


def test_a_stream_made_by_others_is_used_as_it_is(tmp_path: Path) -> None:
    with NatsServers(tmp_path) as servers:
        make_stream(servers, max_age=7200)
        assert "keeps packets for 2 hours, not for 3 hours" in refused(servers, options="?hours=3")
        to = JetStreamPublisher(parse_address(f"nats://{servers.hosts}?hours=2", "writer"))
        to.take(hops(1)[0])
        assert to.close(PATIENCE) == 0


def test_a_stream_that_is_full_keeps_packets_waiting_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    packets = hops(30)
    with NatsServers(tmp_path) as servers:
        make_stream(servers, max_msgs=10, discard="new")
        to = JetStreamPublisher(parse_address(f"nats://{servers.hosts}", "writer"))
        for packet in packets:
            to.take(packet)
        deadline = time.monotonic() + PATIENCE
        while "packets wait" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert to.stored == 10

        async def make_room() -> None:
            client = await nats.connect(f"nats://{servers.hosts}")
            config = (await client.jetstream().stream_info("THEIRS")).config
            await client.jetstream().update_stream(config.evolve(max_msgs=1000))
            await client.close()

        asyncio.run(make_room())
        assert to.close(PATIENCE) == 0
        assert caplog.text.count("packets wait") == 1
        assert "storing again" in caplog.text
        with TokenStream(f"nats://{servers.hosts}?from=all") as tokens:
            assert [packet for _, packet in zip(range(30), tokens, strict=False)] == packets
