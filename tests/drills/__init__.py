"""The drills: what the stream promises, put to the test with real processes and sockets. See docs/reliability.md."""

import sys
from pathlib import Path

# The samples of the suite stand beside this package, where pytest finds them by itself.
_SAMPLES = str(Path(__file__).resolve().parents[1] / "support")
if _SAMPLES not in sys.path:
    sys.path.append(_SAMPLES)
