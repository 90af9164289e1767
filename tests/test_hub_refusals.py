"""What the real huggingface_hub client is told by a hub that refuses or is not there, in words with a remedy."""

from pathlib import Path

import pytest

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.hub.listing.remote import ask_hub
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.hub_server import Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
FILES = {f"Tiny-R1-{quant}.gguf": b"GGUF" for quant in ("Q8_0", "Q4_K_M", "UD-IQ1_S", "UD-IQ2_XXS", "BF16")}
INVALID_TOKEN, DISABLED = "Invalid credentials in Authorization header", "Access to this resource is disabled."
PAGE = "127.0.0.1:\\d+/acme/Tiny-R1-GGUF"


@pytest.fixture
def hub(empty_hub: Hub) -> Hub:
    empty_hub.repositories[REPO] = Repository(FILES)
    return empty_hub


def told(variant: Variant, paths: Paths) -> R1tuiError:
    with pytest.raises(R1tuiError) as caught:
        ask_hub(variant, paths)
    return caught.value


@pytest.mark.parametrize(
    ("refusal", "token", "cause", "remedy"),
    [
        ((401, "GatedRepo"), None, "gated", f"Accept the licence on http://{PAGE}, create a read token .* HF_TOKEN"),
        ((403, "GatedRepo"), "hf_x", "gated", f"Accept the licence on http://{PAGE} with HF_TOKEN's account"),
        ((401, "RepoNotFound"), None, "no repository .* or it is private", f"{PAGE}; .* set HF_TOKEN"),
        ((401, ""), None, "denied access to", "HF_TOKEN"),
        ((404, "RepoNotFound"), "hf_x", "private and this token may not read it", "its owner's token"),
        ((401, INVALID_TOKEN), "hf_x", "does not accept the token", "settings/tokens"),
        ((403, DISABLED), None, "disabled", "another repository"),
        ((403, ""), None, "denied access to", "HF_TOKEN"),
        ((429, ""), None, "too many requests", "HF_TOKEN"),
        ((500, ""), None, "answered 500", "later"),
        ((200, ""), None, "does not answer like a model hub", "HF_ENDPOINT"),
    ],
)
def test_a_refusal(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, *, refusal: tuple[int, str], token: str | None,
    cause: str, remedy: str,
) -> None:  # fmt: skip
    hub.repositories[REPO].refusal = refusal
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(R1tuiError, match=rf"(?s){cause}.*\n.*{remedy}") as caught:
        ask_hub(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths)
    assert "hf_x" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("*Q8_1*", "It has BF16, Q4_K_M, Q8_0, UD-IQ1_S, UD-IQ2_XXS."),
        ("*UD-IQ1_M*", "It has BF16, "),
        ("*nothing-like-it*", "It has BF16, "),
    ],
)
def test_a_file_that_is_missing_or_renamed_is_answered_with_the_near_names(
    hub: Hub, paths: Paths, pattern: str, remedy: str
) -> None:
    error = told(Variant("tiny", repo=REPO, pattern=pattern), paths)
    assert f"no file for {pattern.strip('*')}" in error.cause
    assert error.remedy.startswith(remedy)


def test_a_revision_that_is_not_there_is_named(hub: Hub, paths: Paths) -> None:
    error = told(Variant("tiny", repo=REPO, pattern="*Q8_0*", revision="v9"), paths)
    assert error.cause == f"{REPO} has no revision v9."


def test_a_repository_without_ggufs(hub: Hub, paths: Paths) -> None:
    hub.repositories[REPO].files = {"model.safetensors": b""}
    assert "no GGUF files" in told(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths).cause


@pytest.mark.parametrize(
    "numbers", ["00001-of-00003 00003-of-00003", "00000-of-00002 00001-of-00002", "00001-of-99999",
                "00001-of-00001 00001-of-00002 00002-of-00002"],
)  # fmt: skip
def test_a_model_that_the_hub_has_not_whole_is_not_downloaded(hub: Hub, paths: Paths, numbers: str) -> None:
    hub.repositories[REPO].files = {f"Tiny-R1-Q8_0-{number}.gguf": b"GGUF" for number in numbers.split()}
    error = told(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths)
    assert error.cause.startswith(f"The files of Q8_0 in {REPO} are not one whole model: Tiny-R1-Q8_0-0000")


@pytest.mark.parametrize(
    ("endpoint", "cause", "remedy"),
    [
        ("http://127.0.0.1:9", "The hub at 127.0.0.1:9 cannot be reached", "Check HF_ENDPOINT"),
        ("http://me:secret@127.0.0.1:9", "The hub at 127.0.0.1:9 cannot be reached", "Check HF_ENDPOINT"),
        ("mirror.example", "HF_ENDPOINT has no https:// in front", "https://HOST"),
        ("http://127.0.0.1:9/base/path/", "The hub at 127.0.0.1:9/base/path cannot be reached", "Check HF_ENDPOINT"),
    ],
)
def test_an_endpoint_that_cannot_be_reached(
    hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch, *, endpoint: str, cause: str, remedy: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    error = told(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths)
    assert cause in error.cause
    assert remedy in error.remedy
    assert "secret" not in str(error)


def test_offline_says_what_to_do_and_asks_nobody(hub: Hub, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = told(Variant("tiny", repo=REPO, pattern="*Q8_0*"), paths)
    assert "HF_HUB_OFFLINE is set" in error.cause
    assert "Unset HF_HUB_OFFLINE" in error.remedy
    assert hub.requests == []


def test_a_file_without_certificates_is_named_by_its_variable(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certificates").write_text("none")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates"))
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:9")
    ran = CommandLine(paths).alone("download", f"hf:{REPO}:Q8_0")
    assert ran.returncode == 1
    assert "connection was lost" not in ran.stderr
    assert "Check SSL_CERT_FILE" in ran.stderr


def test_a_proxy_that_is_not_there_is_named_by_its_variable(
    paths: Paths, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://me:secret@127.0.0.1:9")
    ran = CommandLine(paths)("download", f"hf:{REPO}:Q8_0")
    assert ran.returncode == 1
    assert "huggingface.co" in ran.stderr
    assert "https_proxy" in ran.stderr
    assert "secret" not in ran.stderr
