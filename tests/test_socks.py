"""Through a SOCKS5 proxy: the hub's list, a download, a server to attach to, and pip."""

import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from r1tui.errors import R1tuiError
from r1tui.system.packages import fetch_package
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.hub_server import Hub, Repository
from tests.odd_server import odd_server
from tests.package_index import wheel
from tests.socks_server import HOST, PASSWORD, USER, SocksServer, no_proxies, socks_server

REPO = "acme/Tiny-R1-GGUF"
DATA = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def hub(empty_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that only the proxy finds."""
    empty_hub.repositories[REPO] = Repository({"Tiny-R1-Q8_0.gguf": DATA})
    no_proxies(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", f"http://{HOST}:{urlsplit(empty_hub.url).port}")
    return empty_hub


@pytest.fixture
def socks() -> Iterator[SocksServer]:
    with socks_server() as server:
        yield server


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("ALL_PROXY", "socks5h"), ("all_proxy", "socks5"), ("HTTP_PROXY", "socks5"), ("http_proxy", "SOCKS5H")],
)
def test_a_model_is_found_and_fetched(
    hub: Hub, socks: SocksServer, paths: Paths, monkeypatch: pytest.MonkeyPatch, *, name: str, scheme: str
) -> None:
    monkeypatch.setenv(name, f"{scheme}://127.0.0.1:{socks.port}/")
    done = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == DATA
    assert {host for host, _ in socks.asked} == {HOST}


def test_name_and_password_reach_the_proxy_and_nobody_else(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_server(wants_password=True) as socks:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{USER}:{PASSWORD}@127.0.0.1:{socks.port}")
        done = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
        assert done.returncode == 0, done.stderr
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{USER}:not{PASSWORD}@127.0.0.1:{socks.port}")
        refused = CommandLine(paths).alone("variants", "--refresh")
        fetched = CommandLine(paths).alone("download", f"hf:{REPO}:Q4_0")
    assert fetched.returncode == 1
    assert "ALL_PROXY" in fetched.stderr
    assert not [said for said in (done, refused, fetched) if PASSWORD in said.stdout + said.stderr]


def test_a_proxy_that_is_not_there_is_named(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    failed = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert HOST in failed.stderr
    assert "ALL_PROXY" in failed.stderr


def test_a_server_is_asked(socks: SocksServer, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    no_proxies(monkeypatch)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{socks.port}")
    with odd_server() as server:
        answered = CommandLine(paths).alone("chat", "--attach", f"http://{HOST}:{server.port}", "Hi")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.strip() == "Hello."
    assert {host for host, _ in socks.asked} == {HOST}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package index over HTTP that pip asks for everything, by a name that only the proxy knows."""
    root = tmp_path / "index"
    archive = wheel(root / "toy", {"toy/__init__.py": b""})
    (root / "toy" / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>', "utf-8")
    no_proxies(monkeypatch)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{HOST}:{server.server_address[1]}")
        monkeypatch.setenv("PIP_TRUSTED_HOST", HOST)
        try:
            yield root.as_uri()
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["ALL_PROXY", "http_proxy"])
def test_pip_fetches(
    name: str, index: str, socks: SocksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"socks5h://127.0.0.1:{socks.port}")
    fetched = fetch_package("toy", "1.0", tmp_path / "here", lambda line: None)
    assert fetched.is_file()
    assert {host for host, _ in socks.asked} == {HOST}


def test_pip_is_not_begun_with_a_proxy_that_is_mistyped(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "“http://127.0.0.1:9”")
    with pytest.raises(R1tuiError, match="https_proxy is in quotes"):
        fetch_package("toy", "1.0", tmp_path / "here", lambda line: None)
