"""Addresses of servers that are not ours: which are wrong and how, where a redirect leads, what is shown."""

from pathlib import Path

import pytest

from r1tui.errors import R1tuiError, UsageError
from r1tui.events import Failed
from r1tui.server.client import ServerClient, model_title
from r1tui.server.endpoint import Endpoint
from tests.odd_rig import HI, client_of, collect, texts
from tests.odd_server import (
    CERTIFICATE,
    Reply,
    odd_server,
    refused,
)


async def test_addresses_that_are_wrong_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def why(url: str) -> str:
        async with ServerClient(Endpoint.parse(url), ours=False) as client:
            with pytest.raises(R1tuiError) as caught:
                await client.need_model()
            [failed] = await collect(client.stream_chat(HI, "c"))
        assert isinstance(failed, Failed)
        assert failed.cause == caught.value.cause
        assert "r1tui" not in caught.value.remedy
        return f"{caught.value.cause} {caught.value.remedy}"

    with odd_server(tls=True) as tls, odd_server() as http:
        assert "certificate of https://localhost" in await why(f"https://localhost:{tls.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert "is for another name" in await why(f"https://127.1:{tls.port}")
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "does not use https" in await why(f"https://localhost:{http.port}")
        assert "https" in await why(f"http://localhost:{tls.port}")
    assert "no host named nowhere.invalid" in await why("http://nowhere.invalid:80")
    assert "No server answers" in await why("http://127.0.0.1:1")
    page = Reply(b"<html>hello</html>", kind="text/html")
    with odd_server(page, others={"/v1/models": page}) as server:
        assert "web page" in await why(server.url)


async def test_the_redirects_of_another_host_and_of_a_circle_are_not_followed() -> None:
    circle = Reply(b"", 308, headers=("Location: /v1/models",))
    with odd_server(others={"/v1/models": circle}) as server:
        async with client_of(server) as client:
            with pytest.raises(R1tuiError, match="redirects too often"):
                await client.need_model()


async def test_a_port_that_a_redirect_leads_to_is_told_no_key_and_named_where_it_wants_one() -> None:
    with odd_server(others={"/v1/models": refused(401, {"error": "who are you?"})}) as other:
        moved = Reply(b"", 307, headers=(f"Location: {other.url}/v1/models",))
        with odd_server(others={"/v1/models": moved}) as server:
            async with ServerClient(Endpoint.parse(server.url), "the-key", ours=False) as client:
                with pytest.raises(R1tuiError, match=f"redirects to another address: {other.url}/v1/models") as caught:
                    await client.need_model()
            assert "Use that address" in caught.value.remedy
            assert "authorization" in server.seen[0].headers
        assert "authorization" not in other.seen[0].headers


async def test_https_that_a_redirect_of_this_machine_leads_to_is_named_since_no_certificate_would_be_checked() -> None:
    with odd_server(tls=True) as tls:
        moved = Reply(b"", 308, headers=(f"Location: https://localhost:{tls.port}/v1/models",))
        with odd_server(others={"/v1/models": moved}) as server:
            async with ServerClient(Endpoint.parse(f"http://localhost:{server.port}"), ours=False) as client:
                with pytest.raises(R1tuiError, match=f"redirects to another address: https://localhost:{tls.port}/"):
                    await client.need_model()


@pytest.mark.parametrize(
    ("path", "title"),
    [
        (r"C:\models\R1-IQ1_S.gguf", "R1-IQ1_S"),
        ("/models/R1.v2-IQ1_S.gguf", "R1.v2-IQ1_S"),
        ("R1", "R1"),
        ("", ""),
        (r"D:\a/b.gguf", "b"),
        (r"\\host\share\R1.gguf", "R1"),
        (r"models\R1.GGUF", "R1"),
        ("/m/a\\b.gguf", "a\\b"),
        ("/models/DeepSeek-R1.v2", "DeepSeek-R1.v2"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("deepseek-r1:1.5b", "deepseek-r1:1.5b"),
    ],
)
def test_a_model_s_path_is_cut_at_its_own_separators(path: str, title: str) -> None:
    assert model_title(path) == title


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models", "/health", "/api/chat", "/V1/", "/#/x",
             "/v1/v1", "/v1//v1/chat/completions", "/v1/chat", "/v1/embeddings", "/v1/messages",
             pytest.param("/" * 3000, id="slashes")]
)  # fmt: skip
def test_what_is_copied_along_with_an_address_does_not_count(path: str) -> None:
    assert Endpoint.parse(f"http://h:8080{path}").base_url == "http://h:8080"
    assert Endpoint.parse(f"http://h:8080/proxy{path}").base_url == "http://h:8080/proxy"


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("http://[::]:80/v1", "http://[::1]:80"),
        ("http://[0:0:0:0:0:0:0:0]:80", "http://[::1]:80"),
        ("http://0:80", "http://127.0.0.1:80"),
        (" http://0.0.0.0 ", "http://127.0.0.1"),
        ("https://me:p@0.0.0.0:80", "https://me:p@127.0.0.1:80"),
        ("http://[::ffff:127.0.0.1]:80", "http://[::ffff:127.0.0.1]:80"),
        ("http://localhost.:80", "http://localhost.:80"),
    ],
)
def test_the_address_that_servers_print_for_all_is_this_machine(address: str, meant: str) -> None:
    endpoint = Endpoint.parse(address)
    assert endpoint.base_url == meant
    assert endpoint.is_loopback


def test_an_ipv6_zone_may_be_written_as_in_an_address() -> None:
    assert Endpoint.parse("http://me:%25@[fe80::1%25eth0]:80").base_url == "http://me:%25@[fe80::1%eth0]:80"


def test_a_socket_s_path_that_no_system_takes_is_told_with_its_length() -> None:
    with pytest.raises(UsageError, match="at most 107 bytes; this one has 205"):
        Endpoint.parse(f"unix:/tmp/{'ü' * 100}")


def test_a_password_in_an_address_is_not_shown() -> None:
    assert "secret" not in str(Endpoint.parse("http://me:secret@h:80"))
    for address in ("http://me:secret@h:nope", "http://me:sec/secret@h", "ftp://me:secret@h", "http://me:secret@"):
        with pytest.raises(UsageError) as caught:
            Endpoint.parse(address)
        assert "secret" not in caught.value.cause


async def test_no_proxy_lies_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with odd_server() as server:
        async with ServerClient(Endpoint.parse(f"http://0.0.0.0:{server.port}"), ours=False) as client:
            assert texts(await collect(client.stream_chat(HI, "c"))) == ("", "Hello.")


@pytest.mark.parametrize(
    ("name", "url", "path"),
    [
        ("http_proxy", "http://srv.example:8080", "/v1/chat/completions"),
        ("ALL_PROXY", "http://srv.example:8080", "/v1/chat/completions"),
        ("HTTPS_PROXY", "https://srv.example:8443", "srv.example:8443"),
    ],
)
@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
async def test_a_proxy_that_wants_a_name_and_password_says_so(
    name: str, url: str, path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = refused(407, b"<html>log in</html>" if "html" in kind else b"log in", kind)
    with odd_server(reply, others={path: reply}) as proxy:
        monkeypatch.setenv(name, proxy.url)
        async with ServerClient(Endpoint.parse(url), ours=False) as client:
            [failed] = [event async for event in client.stream_chat(HI, "c")]
    assert isinstance(failed, Failed)
    assert failed.cause == f"The proxy of {name} asks for a name and password (407)."
    assert failed.remedy == f"Write them into {name}: http://NAME:PASSWORD@HOST:PORT."


@pytest.mark.parametrize("reply", [refused(403, b"<html>denied</html>", "text/html"), Reply(b"", version="SSH-2.0")])
async def test_what_a_proxy_answers_may_be_gone_past(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_server(reply) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with ServerClient(Endpoint.parse("http://srv.example:8080"), ours=False) as client:
            [failed] = [event async for event in client.stream_chat(HI, "c")]
    assert isinstance(failed, Failed)
    assert "Or set NO_PROXY=srv.example to go past the proxy of http_proxy." in failed.remedy
