"""Images that show which one they are."""

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def numbered(number: int, width: int = 256, height: int = 64) -> Image:
    """An image that shows a number in eight blocks, to be read after compression."""
    bits = [(number >> bit & 1) * 255 for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8), width // 8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_in(image: Image) -> int:
    row = image[image.shape[0] // 2, :, 1].reshape(8, -1).mean(axis=1)
    return sum(1 << bit for bit in range(8) if row[bit] > 127)


def _served(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Return a server at a port, once it is free: a client that asks in vain may hold it for a moment."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class MjpegServer:
    """Sends numbered images as Motion JPEG over HTTP until it is shut down, as an IP camera does."""

    def __init__(self, port: int = 0, width: int = 256, first: int = 0, height: int = 64) -> None:
        self._over = threading.Event()
        over = self._over

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for number in itertools.count(first):
                    jpeg = cv2.imencode(".jpg", numbered(number % 256, width, height))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    if over.wait(1 / 60):
                        return

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _served(port, Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the connections
        self._thread.join()
