"""MQTT: every packet as JSON under a topic a person, for dashboards, home automation and factories.

<prefix>/<stream>/<track>   the subscriber's line of JSON, with joints
<prefix>/<stream>/gone      {"gone": true}, when the producer ends
"""

import logging
import ssl
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.command.messages import say
from stream.errors import RefusedError
from stream.files.json_line import json_line
from stream.subscribe.heard import Heard

WAITING = 1000
"""Messages that wait for a broker that is away; the newest beyond them are left out and counted."""

PREFIX = "kinetoken"

CLOSE_S = 5.0
"""Seconds that closing waits for the broker to take what is left."""


class MqttSink:
    """Publishes to mqtt[s]://[USER:PASSWORD@]HOST[:PORT][/PREFIX], with quality of service 1: once or more.

    The broker may be away, also at the start: messages wait, and the client connects by itself.
    `packet` raises RefusedError where the broker does not let it in.
    """

    decodes = True

    def __init__(self, address: str) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

        url = urlsplit(address)
        assert url.hostname is not None  # `split_mqtt` has seen to it
        self._prefix = url.path.strip("/") or PREFIX
        self._place = f"{url.scheme}://{url.hostname}"
        self._full = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
        self._refused: str | None = None
        self._waiting = 0  # published and not yet acknowledged by the broker
        self._taken = threading.Condition()
        self._away = False
        self.dropped = 0
        """Messages left out while the broker was away."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(WAITING)
        if url.username is not None:
            self._client.username_pw_set(unquote(url.username), unquote(url.password or ""))
        if url.scheme == "mqtts":
            self._client.tls_set_context(ssl.create_default_context())
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.connect_async(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883))
        self._client.loop_start()

    def packet(self, heard: Heard) -> None:
        """Publish a packet."""
        if self._refused:
            raise RefusedError(f"{self._place} refuses this client ({self._refused}): check user and password")
        self._publish(f"{heard.packet.stream}/{heard.packet.track}", json_line(heard))

    def gone(self, stream: str) -> None:
        """Tell that nobody of a stream is there any more."""
        self._publish(f"{stream}/gone", '{"gone": true}')

    def close(self) -> None:
        """Wait a little until the broker has what was published, and leave."""
        with self._taken:
            self._taken.wait_for(lambda: not self._waiting or self._refused, CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()
        if left := self._waiting + self.dropped:
            say(f"{left} messages did not reach {self._place}", "mqtt", logging.WARNING)
            self._waiting = self.dropped = 0  # said once

    def _publish(self, topic: str, payload: str) -> None:
        with self._taken:  # the acknowledgement may come before `publish` returns
            full = self._client.publish(f"{self._prefix}/{topic}", payload, qos=1).rc == self._full
            self.dropped += full
            self._waiting += not full

    def _on_publish(self, client: Any, userdata: Any, mid: Any, reason: Any, properties: Any) -> None:
        with self._taken:
            self._waiting -= 1
            self._taken.notify()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            self._away = False
            say(f"publishing to {self._place}, topics {self._prefix}/<stream>/<track>", "mqtt")

    def _on_connect_fail(self, client: Any, userdata: Any) -> None:
        self._say_away()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and not self._refused:
            self._say_away()

    def _say_away(self) -> None:
        if not self._away:
            self._away = True
            say(f"{self._place} is not there: packets wait, up to {WAITING} of them", "mqtt", logging.WARNING)
