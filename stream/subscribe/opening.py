"""Gets and opens decoders in threads of their own: a reader waits for them no longer than it wants to."""

import threading
import time
from collections import OrderedDict

from engine.session import Decoder, open_decoder
from stream.codec.decode import StreamDecoder
from stream.errors import KinetokenError, TokenizerError
from stream.subscribe.control_client import Asker
from stream.subscribe.fetch import find_tokenizer
from stream.wire.limits import TokenBucket
from stream.wire.packets import Packet
from stream.wire.security import OPEN, Security

PATIENCE = 1.0
"""Seconds for which closing waits for a library in which the thread is."""


FAILURES = 64
"""Tokenizers that could not be had and are not asked for again, the most recent ones."""

AT_ONCE, RATE = 16, 1 / 300
"""Tokenizers that are opened at once, and then a second: a producer has one, a relay those of its producers."""


class Opener:
    """Opens what a `StreamDecoder` lacks, one decoder after the other. For use from one thread."""

    def __init__(self, decoder: StreamDecoder, security: Security) -> None:
        self._decoder, self._security = decoder, security
        self._opening: Opening | None = None
        self._failures: OrderedDict[str, TokenizerError] = OrderedDict()
        self._bucket = TokenBucket(RATE, AT_ONCE)

    @property
    def busy(self) -> bool:
        """Whether a decoder is on its way; another is not begun until `finish` has said that it is there."""
        return self._opening is not None

    def begin(self, label: str, control: str | None) -> None:
        """Open the decoder of a label unless it is there. control: address of the control socket to fetch it from."""
        if not self.busy and not self._decoder.has(label):
            self._opening = Opening(label, control, self._security)

    def must_wait(self, packet: Packet, control: str | None) -> bool:
        """Whether a packet's decoder is on its way; it is opened if need be. Raises TokenizerError if it cannot be."""
        label = packet.tokenizer
        if self.busy or self._decoder.has(label):
            return self.busy
        if label in self._failures:
            raise self._failures[label]
        if wait := self._bucket.take():
            raise TokenizerError(
                f"{packet.stream} names one tokenizer after another, now {label}: the next is opened in {wait:.0f} s"
            )
        self.begin(label, control)
        return True

    def finish(self, deadline: float) -> bool:
        """Wait for the decoder that is on its way, until `deadline` on the monotonic clock; whether none is any more.

        Where it could not be had, the next packet of its label raises why.
        """
        if self._opening is None:
            return True
        if not self._opening.wait(deadline - time.monotonic()):
            return False
        opening, self._opening = self._opening, None
        try:
            self._decoder.add(opening.label, opening.result())
        except TokenizerError as error:
            self._failures[opening.label] = error
            if len(self._failures) > FAILURES:
                self._failures.popitem(last=False)
        return True

    def close(self) -> None:
        """Give up what is on its way. Idempotent."""
        if self._opening:
            self._opening.close()


class Opening:
    """One decoder on its way. For use from one thread.

    label: the tokenizer's, as in packets. control: address of the control socket to fetch it from; None for one that is
    here by its name. Raises WireError, SecurityError.
    """

    def __init__(self, label: str, control: str | None, security: Security = OPEN) -> None:
        self.label = label
        self._asker = Asker(control, security) if control else None
        self._decoder: Decoder | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._open, name="opening", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def result(self) -> Decoder:
        """Return the decoder, once there is an end. Raises TokenizerError where there is none."""
        if self._decoder is None:
            raise self._error or TokenizerError(f"the tokenizer {self.label} was not opened")
        return self._decoder

    def close(self) -> None:
        """Give it up. Idempotent."""
        if self._asker:
            self._asker.abandon()
        self._thread.join(PATIENCE)

    def _open(self) -> None:
        try:
            decoder = open_decoder(find_tokenizer(self.label, self._asker))
            decoder.warm((1,))
            self._decoder = decoder
        except TokenizerError as error:
            self._error = error
        except KinetokenError as error:
            self._error = TokenizerError(f"the tokenizer {self.label} cannot be had: {error}")
        except Exception as error:  # raised where it is asked for
            self._error = error
        finally:
            if self._asker:
                self._asker.close()
