"""Finding the pose model: what goes before what, and downloads that fail in every way."""

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream.errors import PoseModelError
from stream.pose.model_file import NAME, PUBLISHED, VARIABLE, find_pose_model


def bundle(*parts: str) -> bytes:
    """A .task file with parts of a few kB each."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for part in parts:
            archive.writestr(part, bytes(range(256)) * 100)
    return content.getvalue()


MODEL = bundle("pose_detector.tflite", "pose_landmarks_detector.tflite")


class Server:
    """Serves `content` at `url`; less of it than announced when `cut` is set."""

    def __init__(self) -> None:
        self.content = MODEL
        self.status = 200
        self.cut: int | None = None
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content[: outer.cut])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{NAME}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache"


def put(path: Path, content: bytes = MODEL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(*, path: Path | None = None, cache: Path, url: str) -> str:
    with pytest.raises(PoseModelError) as caught:
        find_pose_model(path, cache=cache, url=url)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_downloads_once_and_shows_and_keeps_the_hash(
    cache: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(MODEL).hexdigest()
    found = find_pose_model(cache=cache, url=server.url)
    assert found == cache / NAME
    assert found.read_bytes() == MODEL
    out, err = capfd.readouterr()
    assert out == ""
    assert digest in err
    assert "100%" in err  # the progress bar
    assert (cache / f"{NAME}.sha256").read_text(encoding="utf-8") == f"{digest}  {NAME}\n"
    assert sorted(path.name for path in cache.iterdir()) == [NAME, f"{NAME}.sha256"]

    assert find_pose_model(cache=cache, url=server.url) == found
    assert server.requests == 1
    assert capfd.readouterr().err == ""


def test_path_goes_before_variable_goes_before_cache(
    cache: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache / NAME)
    assert find_pose_model(cache=cache, url=server.url) == cache / NAME
    monkeypatch.setenv(VARIABLE, str(put(tmp_path / "variable.task")))
    assert find_pose_model(cache=cache, url=server.url) == tmp_path / "variable.task"
    path = put(tmp_path / "path.task")
    assert find_pose_model(path, cache=cache, url=server.url) == path
    assert server.requests == 0


def test_what_the_user_names_has_to_be_a_model(
    cache: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal(path=tmp_path / "nowhere.task", cache=cache, url=server.url)
    assert "nowhere.task" in message
    assert "--pose-model" in message
    assert PUBLISHED in message
    hand = put(tmp_path / "hand.task", bundle("hand_detector.tflite"))
    assert "not a pose model (it lacks pose_detector.tflite" in refusal(path=hand, cache=cache, url=server.url)
    monkeypatch.setenv(VARIABLE, str(put(tmp_path / "cut.task", MODEL[:-100])))
    message = refusal(cache=cache, url=server.url)
    assert VARIABLE in message
    assert "damaged" in message
    assert server.requests == 0


def test_a_file_put_into_the_cache_by_hand_gets_its_hash(cache: Path, server: Server) -> None:
    path = put(cache / NAME)
    assert find_pose_model(cache=cache, url=server.url) == path
    assert (cache / f"{NAME}.sha256").exists()
    assert server.requests == 0


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_file_damaged_in_the_cache_is_downloaded_anew(
    cache: Path, server: Server, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = find_pose_model(cache=cache, url=server.url)
    changed = MODEL[:200] + bytes([MODEL[200] ^ 1]) + MODEL[201:]  # within a part: still a whole archive
    path.write_bytes(changed if damage == "changed" else MODEL[:1000])
    assert find_pose_model(cache=cache, url=server.url) == path
    assert path.read_bytes() == MODEL
    assert server.requests == 2
    assert "downloading it anew" in caplog.text
    assert find_pose_model(cache=cache, url=server.url) == path
    assert server.requests == 2


def test_no_network_says_what_to_do(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/{NAME}"
    message = refusal(cache=cache, url=url)
    assert "by hand" in message
    assert PUBLISHED in message
    assert "--pose-model" in message
    assert str(cache / NAME) in message


@pytest.mark.parametrize("trouble", ["cut", "cut unannounced", "not found", "a web page"])
def test_a_failed_download_leaves_nothing(cache: Path, server: Server, trouble: str) -> None:
    if trouble == "cut":
        server.cut = len(MODEL) // 2
    elif trouble == "cut unannounced":
        server.content = MODEL[: len(MODEL) // 2]
    elif trouble == "not found":
        server.status = 404
    else:
        server.content = b"<html>Please log in to the network of this hotel</html>"
    assert "by hand" in refusal(cache=cache, url=server.url)
    assert list(cache.iterdir()) == []
    server.content, server.status, server.cut = MODEL, 200, None
    assert find_pose_model(cache=cache, url=server.url).read_bytes() == MODEL


def test_a_cache_that_cannot_be_written(cache: Path, server: Server) -> None:
    put(cache, b"a file in the way of the folder")
    assert "by hand" in refusal(cache=cache, url=server.url)
    assert "by hand" in refusal(cache=cache / "below", url=server.url)


def test_real_model(shared: Path, cache: Path, server: Server) -> None:
    model = shared / "models/pose_landmarker_full.task"
    assert find_pose_model(model, cache=cache, url=server.url) == model


def test_a_cache_that_cannot_be_written_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PoseModelError, match=r"no place to keep the pose model .*: set KINETOKEN_CACHE to a folder"):
        find_pose_model(cache=tmp_path / "file" / "cache", url="http://127.0.0.1:9/never-asked")
