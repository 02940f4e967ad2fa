"""The live system: motion goes in, packets of tokens come out over ZeroMQ.

from stream import Tokenizer      # arrays to tokens and back; needs neither ZeroMQ nor torch
from stream import TokenStream    # packets of a running producer
from stream import read_log       # packets of a token log
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.client import TokenStream as TokenStream
    from stream.codec.decode import Motion as Motion
    from stream.log.reader import read_log as read_log
    from stream.tokenizer import Tokenizer as Tokenizer
    from stream.tokens import Tokens as Tokens

_HOMES = {
    "Motion": "stream.codec.decode",
    "TokenStream": "stream.client",
    "Tokenizer": "stream.tokenizer",
    "Tokens": "stream.tokens",
    "read_log": "stream.log.reader",
}

__all__ = sorted(_HOMES)

_found = find_spec("engine")
if _found is None or not _found.origin or Path(_found.origin).parents[1] != Path(__file__).parents[1]:
    # A name of our own in the error lets `python -m` say it as one line.
    raise ModuleNotFoundError(
        f"{_found.origin if _found else 'nothing'} was found as `engine` instead of kinetoken's: run this from another "
        "folder, or by the command kinetoken",
        name=__name__,
    )


def __getattr__(name: str) -> Any:
    """Import a name from its module when it is first asked for: a Tokenizer needs no socket."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stream' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
