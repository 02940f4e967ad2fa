"""A camera on the network, as a process that can be killed: `python -m tests.drills.mjpeg PORT`."""

import signal
import sys

from image_samples import MjpegServer

if __name__ == "__main__":
    MjpegServer(int(sys.argv[1]), width=1280, height=720)
    print("serving", flush=True)
    signal.pause()
