"""Addresses of NATS servers: what they may say, and one line where they say something else."""

from datetime import datetime

import pytest

from stream.jetstream.address import NatsAddress, check_reader, parse_address, shown


def test_all_that_an_address_may_say() -> None:
    written = parse_address("nats://ann:p%40ss@a,b:5000,[::1]?replicas=3&hours=0.5&creds=me.creds", "writer")
    assert written == NatsAddress(
        servers=("nats://a:4222", "nats://b:5000", "nats://[::1]:4222"),
        user="ann",
        password="p@ss",
        creds="me.creds",
        replicas=3,
        hours=0.5,
    )
    read = parse_address("tls://token@a/?from=2026-05-01T12:00%2B00:00&group=workers", "reader")
    assert read.user == "token"
    assert read.password is None
    assert read.encrypted
    assert read.start == datetime.fromisoformat("2026-05-01T12:00+00:00")
    assert read.group == "workers"
    assert parse_address("nats://a?from=17", "reader").start == 17


def test_what_is_shown_has_no_secrets() -> None:
    assert shown("nats://ann:secret@a,b") == "nats://a:4222,b:4222"
    assert shown("tcp://a:5555") == "tcp://a:5555"


@pytest.mark.parametrize(
    ("address", "role", "message"),
    [
        ("nats://", "reader", "is not HOST"),
        ("nats://a:99999", "reader", "is not HOST"),
        ("nats://a/b", "reader", "is not HOST"),
        ("http://a", "reader", "a NATS address is"),
        ("nats://a?replicas=3", "reader", "that is for a writer"),
        ("nats://a?from=all", "writer", "that is for a reader"),
        ("nats://a?replicas=6", "writer", "1 to 5"),
        ("nats://a?hours=0", "writer", "hours above 0"),
        ("nats://a?hours=nan", "writer", "hours above 0"),
        ("nats://a?from=yesterday", "reader", "a sequence number"),
        ("nats://a?group=a.b", "reader", "letters, digits"),
        ("nats://a?creds=", "reader", "is empty"),
    ],
)
def test_bad_addresses_are_one_line(address: str, role: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_address(address, role)  # type: ignore[arg-type]


def test_a_group_does_not_decode() -> None:
    check_reader("nats://a?group=workers", decode=False)
    with pytest.raises(ValueError, match="joints need all packets"):
        check_reader("nats://a?group=workers", decode=True)
