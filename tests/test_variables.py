"""Mistyped variables: one sentence that names the variable and how to mend it, never what stands there."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec
import pytest
from textual.pilot import Pilot

from r1tui.catalog.variants import Variant
from r1tui.cli import run
from r1tui.config import Config, VariantSettings
from r1tui.errors import R1tuiError, UsageError
from r1tui.hub.listing.remote import ask_hub
from r1tui.server.client import ServerClient
from r1tui.server.endpoint import Endpoint
from r1tui.system.environment import HUB, check_network, check_proxies, clean_secret, hub_endpoint
from r1tui.system.paths import Paths
from r1tui.tui.app import R1App
from r1tui.tui.widgets.prompt import Prompt
from tests.conftest import CommandLine
from tests.hub_server import Hub, Repository
from tests.models_rig import Listening
from tests.odd_server import odd_server
from tests.socks_server import no_proxies
from tests.tui_rig import config, notices, opened, to_model, until

__all__ = ["config"]

REPO = "acme/Tiny-R1-GGUF"
SECRET = "QxZvSecret"  # noqa: S105
BAD_PROXIES = {
    "htp://proxy:8080": "has an unsupported scheme: htp",
    "socks://proxy:1080": "has an unsupported scheme: socks",
    "socks4://proxy:1080": "has an unsupported scheme: socks4",
    f"htp://me:{SECRET}@proxy:8080": "has an unsupported scheme: htp",
    f"me:{SECRET}://proxy:8080": "has an unsupported scheme.",
    "http//proxy:8080": "has no http:// in front",
    "http://": "has no host",
    "http://:8080": "has no host",
    f"http://me:{SECRET}@": "has no host",
    "http://proxy:port": "has an invalid port",
    "http://proxy:0": "has an invalid port",
    "http://proxy:99999": "has an invalid port",
    "http://proxy:8080:9090": "has an invalid port",
    "http://[::1": "invalid host name",
    "http://[::1]8080": "has an invalid port",
    "http://pro%xy:8080": "invalid host name",
    " http://proxy:8080": "has a space",
    "http://proxy:8080 ": "has a space",
    "http://proxy :8080": "has a space",
    "http://proxy:8080\n": "has a line break",
    "http://proxy\t:8080": "has a tab",
    "“http://proxy:8080”": "is in quotes",
    "'http://proxy:8080'": "is in quotes",
    '"http://proxy:8080': "is in quotes",
    "http://prøxy:8080": "not ASCII",
    f"http://me:{SECRET}/x@proxy:8080": "%2F",
    f"http://me:{SECRET}#x@proxy:8080": "%23",
    f"http://me:”{SECRET}@proxy:8080": "curly quote",
}
GOOD_PROXIES = [
    "http://proxy:8080", "http://proxy", "127.0.0.1:8080", "proxy.example:3128", "http://proxy:8080/", "HTTP://proxy:80",
    "https://proxy", "socks5://proxy:1080", "socks5h://proxy", f"http://me:{SECRET}@proxy:1", "http://me@proxy:1",
    "http://[::1]:8080", "http://me:%2Fx%40@proxy:80/", "http://my_proxy.:80", "8080",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _none_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    no_proxies(monkeypatch)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "LLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("value", BAD_PROXIES)
def test_a_mistyped_proxy_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(UsageError) as caught:
        check_proxies()
    assert caught.value.cause.startswith("ALL_PROXY ")
    assert BAD_PROXIES[value] in caught.value.cause
    assert "http://HOST:PORT" in caught.value.remedy
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", GOOD_PROXIES)
def test_a_proxy_that_is_right_can_be_used(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    check_proxies()
    httpx2.Client().close()


def test_small_letters_win_and_what_nobody_uses_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "htp://x")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    check_proxies()
    monkeypatch.setenv("https_proxy", "htp://y")
    with pytest.raises(UsageError, match=r"^https_proxy "):
        check_proxies()
    monkeypatch.setenv("https_proxy", "")
    check_proxies()
    httpx2.Client().close()
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("NO_PROXY", "localhost, *")
    check_proxies()
    httpx2.Client().close()
    monkeypatch.setenv("NO_PROXY", "localhost")
    with pytest.raises(UsageError, match=r"^HTTPS_PROXY "):
        check_proxies()


@pytest.mark.parametrize(
    "value",
    ["", " ", ",", "localhost,127.0.0.1,::1", "[::1]", ".example.com", "*.example.com", "10.0.0.0/8", "fd00::/8",
     "a b c", "http://x", "“localhost”", "localhost:11434", "x:y:z", "[", "::/999", "ü.example", "%zz", "a\nb", "*x*",
     "@", "://", ":"],
)  # fmt: skip
async def test_no_form_of_no_proxy_ends_in_a_traceback(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", value)
    with pytest.raises(R1tuiError, match="ALL_PROXY"):
        async with ServerClient(Endpoint.parse("http://host.invalid:1"), ours=False) as client:
            await client.choose_model()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("mirror.example", "has no https:// in front"),
        ("https:/mirror.example", "has no https:// in front"),
        ("ftp://mirror.example", "has an unsupported scheme: ftp"),
        ("“https://mirror.example”", "is in quotes"),
        ("'https://mirror.example'", "is in quotes"),
        ("https://mirror.example”", "is in quotes"),
        ("https://mirr or.example", "has a space"),
        ("https://", "has no host"),
        ("https://[x", "invalid host name"),
        ("https://mirror.example:x", "has an invalid port"),
        ("https://mirror.example?x=1", "? or #"),
        (f"https://me:{SECRET}/@mirror.example", "%2F"),
        ("https://mirror／example", "not ASCII"),
    ],
)
def test_a_mistyped_endpoint_is_named(value: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    with pytest.raises(UsageError) as caught:
        hub_endpoint()
    assert caught.value.cause.startswith("HF_ENDPOINT ")
    assert fault in caught.value.cause
    assert "https://HOST" in caught.value.remedy
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [("", HUB), ("  ", HUB), (" https://m.example/ ", "https://m.example"), ("http://m:80/a/b//", "http://m:80/a/b")],
)
def test_an_endpoint_s_ends_do_no_harm(value: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    assert hub_endpoint() == meant


BAD_SECRETS = {
    f"“{SECRET}”": "is in quotes",
    f"{SECRET}”": "is in quotes",
    f'"{SECRET}"': "is in quotes",
    f"{SECRET}\n{SECRET}": "has a line break",
    f"{SECRET}\0": "has a NUL",
    f"{SECRET} x": "has a space",
    f"\ufeff{SECRET}": "has a byte order mark",
    f"{SECRET}é": "not ASCII",
    f"{SECRET}\x1b[0m": "control character",
}


@pytest.mark.parametrize("value", BAD_SECRETS)
def test_what_no_key_can_be_is_told_without_it(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        clean_secret(value, "THE_KEY", "Mend it.")
    assert caught.value.cause.startswith("THE_KEY ")
    assert BAD_SECRETS[value] in caught.value.cause
    assert SECRET not in str(caught.value)


def test_space_around_a_key_is_none_of_it() -> None:
    assert clean_secret(f" {SECRET}\r\n", "THE_KEY", "") == SECRET


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/nowhere")
    with pytest.raises(UsageError, match=f"^{name} points to a"):
        check_network()


def test_a_file_for_keys_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    check_network()
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/keys")
    with pytest.raises(UsageError, match="SSLKEYLOGFILE points to a file"):
        check_network()


def test_a_file_for_keys_may_be_in_a_folder_that_takes_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys").touch()
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK or not Path(path).is_dir())
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    check_network()


@pytest.fixture
def hub(empty_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    empty_hub.repositories[REPO] = Repository({"Tiny-R1-Q8_0.gguf": b"GGUF"})
    return empty_hub


FOR_THE_HUB = {
    "ALL_PROXY": "htp://x", "HTTPS_PROXY": "“http://x:1”", "https_proxy": "http://x:y",
    "HTTP_PROXY": f"me:{SECRET}@x:1:2",
    "HF_ENDPOINT": "“https://x”", "HF_TOKEN": f"“{SECRET}”", "HUGGING_FACE_HUB_TOKEN": f"{SECRET}ü",
    "HF_HUB_DOWNLOAD_TIMEOUT": "ten", "HF_HUB_ETAG_TIMEOUT": "", "SSL_CERT_FILE": "/nowhere",
}  # fmt: skip


@pytest.fixture
def one_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, list[str]], int]:
    """Runs a command with a variable of `FOR_THE_HUB`: its status, once it has named the variable and nothing else."""

    def named(name: str, line: list[str]) -> int:
        monkeypatch.setenv(name, FOR_THE_HUB[name])
        status = run(line)
        said = "".join(capsys.readouterr())
        assert name in said
        assert not [word for word in (SECRET, "Traceback", "unexpected") if word in said], said
        assert hub.requests == []
        return status

    return named


@pytest.mark.parametrize("name", FOR_THE_HUB)
def test_every_variable_is_named(name: str, one_sentence: Callable[[str, list[str]], int], paths: Paths) -> None:
    assert one_sentence(name, ["download", f"hf:{REPO}:Q8_0"]) == 1


@pytest.mark.parametrize("command", ["serve", "chat", "inspect", "refresh", "plan"])
@pytest.mark.parametrize("name", ["ALL_PROXY", "HF_ENDPOINT", "HF_TOKEN"])
def test_every_command_that_asks_the_hub_names_it(
    name: str, command: str, one_sentence: Callable[[str, list[str]], int], paths: Paths, llama_server: Path
) -> None:
    model = f"hf:{REPO}:Q8_0"
    line = {
        "refresh": ["variants", "--refresh"],
        "chat": ["chat", "--variant", model, "Hi"],
    }.get(command, [command, model])
    mine = f"variants: {{mine: {{title: Mine, repo: {REPO}, pattern: '*Q8_0*'}}}}\n"
    CommandLine(paths).configure(f"engine: {{source: '{llama_server}'}}\n{mine}")
    assert one_sentence(name, line) == (0 if command == "refresh" else 1)


BAD_TOKENS = [
    (f"hf_{SECRET}".encode("utf-16"), "is UTF-16"),
    (f"hf_{SECRET}".encode("utf-16-le"), "is UTF-16"),
    (f"hf_{SECRET}".encode("utf-16-be"), "is UTF-16"),
    (f"hf_{SECRET}\n".encode("utf-8-sig"), "has a byte order mark"),
    (f"hf_{SECRET}\0".encode(), "has a NUL"),
    (f"hf_{SECRET}\nhf_{SECRET}\n".encode(), "has a line break"),
    (f"‘hf_{SECRET}’".encode(), "is in quotes"),
    (f"hf_{SECRET}é".encode("latin-1"), "has a byte that is not UTF-8"),
    (None, "cannot be read"),
]


@pytest.mark.parametrize(
    ("variable", "raw", "fault"),
    [*(("HF_TOKEN_PATH", *case) for case in BAD_TOKENS), *(("HF_HOME", *case) for case in BAD_TOKENS[-2:])],
)
def test_a_token_s_file_that_is_no_token_is_named(
    hub: Hub,
    paths: Paths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    variable: str,
    raw: bytes | None,
    fault: str,
) -> None:
    file = tmp_path / "hf" / "token"
    file.parent.mkdir()
    if raw is None:
        file.mkdir()
    else:
        file.write_bytes(raw)
    monkeypatch.setenv(variable, str(file if variable == "HF_TOKEN_PATH" else file.parent))
    failed = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
    assert failed.returncode == 1
    assert fault in failed.stderr
    assert str(file) in failed.stderr
    assert "HF_TOKEN" in failed.stderr
    assert SECRET not in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    assert hub.requests == []


def test_a_token_with_a_newline_at_its_end_is_one(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f" hf_{SECRET}\r\n")
    assert ask_hub(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths).files
    assert hub.authorised == {"hub"}


@pytest.mark.parametrize("value", [value for value in BAD_SECRETS if "\0" not in value])
def test_a_key_for_another_server_is_checked(
    value: str, paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", value)
    with odd_server() as server:
        assert run(["chat", "--attach", server.url, "Hi"]) in (1, 2)
        assert server.seen == []
    said = capsys.readouterr()
    assert "LLAMA_API_KEY " in said.err
    assert BAD_SECRETS[value] in said.err
    assert SECRET not in said.err


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "htp://x"), ("http_proxy", "“http://x”")])
def test_chat_with_a_server_elsewhere_names_the_proxy(
    name: str, value: str, paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert run(["chat", "--attach", "http://server.invalid:8080", "Hi"]) in (1, 2)
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ALL_PROXY", "HF_TOKEN", "HF_ENDPOINT"])
async def test_the_list_of_models_names_the_variable(
    name: str, hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, FOR_THE_HUB[name])
    app = Listening(paths)
    async with opened(app, (80, 24)) as pilot:
        await to_model(app, pilot, "mine")
        await until(pilot, lambda: app.cell("verdict") == "? ")
        await pilot.press("r")
        await until(pilot, lambda: any(name in text for text in app.told))
        assert not any(SECRET in text for text in app.told)


async def seen(app: R1App, pilot: Pilot[None], *words: str) -> None:
    """Wait until the screen shows these, or a notice has told them."""

    def all_seen() -> bool:
        shown = "".join(re.findall(r">([^<]*)</text>", app.export_screenshot())) + " ".join(notices(app))
        return all(word in shown for word in words)

    await until(pilot, all_seen)
    assert SECRET not in app.export_screenshot()


@pytest.mark.parametrize("name", ["ALL_PROXY", "HF_TOKEN", "HF_ENDPOINT"])
async def test_a_model_that_cannot_be_brought_up_names_the_variable(
    name: str, hub: Hub, paths: Paths, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, FOR_THE_HUB[name])
    mine = VariantSettings(title="Mine", repo=REPO, pattern="*Q8_0*")
    config = msgspec.structs.replace(config, variants={"mine": mine})
    paths.config_file.write_bytes(msgspec.json.encode(config))
    app = R1App(paths, config)
    async with opened(app, (120, 40)) as pilot:
        await to_model(app, pilot, "mine")
        await pilot.press("enter")
        await seen(app, pilot, name)


@pytest.mark.parametrize(
    ("name", "value", "address"),
    [("LLAMA_API_KEY", f"“{SECRET}”", ""), ("ALL_PROXY", f"htp://me:{SECRET}@x", "http://server.invalid:8080")],
)
async def test_a_chat_with_another_server_names_the_variable(
    name: str, value: str, address: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with odd_server() as server:
        app = R1App(paths, Config(), attach=Endpoint.parse(address or server.url))
        async with opened(app, (120, 40)) as pilot:
            app.chat.query_one(Prompt).text = "Hi"
            await pilot.press("enter")
            await seen(app, pilot, name)
        assert server.seen == []
