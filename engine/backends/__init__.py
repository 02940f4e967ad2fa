"""One module per engine: how a tokenizer's graphs are run.

What people run is nobody's business, so before any engine is imported its reports to the outside are switched off.
OpenVINO sends them from a forked process, which can keep ours from ending; without that module it does not.
"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
