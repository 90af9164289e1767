"""A mirror below a path of its host: its path is kept, and the pages of its lists are asked of it alone."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from r1tui.catalog.variants import Variant
from r1tui.errors import R1tuiError
from r1tui.hub.listing.remote import ask_hub, fetch_tree
from r1tui.system.paths import Paths
from tests.conftest import CommandLine
from tests.hub_habits import Answer
from tests.hub_server import Hub, Repository

REPO = "acme/Tiny-R1-GGUF"
VARIANT = Variant("tiny", repo=REPO, pattern="*Q8_0*")
FILES = {f"Tiny-R1-{quant}.gguf": b"GGUF" + quant.encode() for quant in ("BF16", "Q4_0", "Q8_0")}
BASES = ["", "/base/path", "/artifactory/api/huggingfaceml/hf", "/api/models"]
LINKS = {
    "the hub's own": "https://huggingface.co/api/models/{rest}",
    "the mirror's": "{endpoint}/api/models/{rest}",
    "the mirror's host, without its path": "{host}/api/models/{rest}",
    "the mirror's, by another scheme": "https://{netloc}{base}/api/models/{rest}",
    "another port": "http://127.0.0.1:9/api/models/{rest}",
    "relative to the host": "{base}/api/models/{rest}",
    "relative to the host, without the path": "/api/models/{rest}",
    "a query alone": "?{query}",
}


@pytest.fixture(params=BASES, ids=lambda base: base or "no path")
def hub(request: pytest.FixtureRequest, empty_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    empty_hub.repositories[REPO] = Repository(FILES)
    empty_hub.base = request.param
    monkeypatch.setenv("HF_ENDPOINT", f"{empty_hub.url}{request.param}/")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    return empty_hub


@pytest.mark.parametrize("link", LINKS)
def test_every_page_is_asked_of_the_mirror(hub: Hub, link: str) -> None:
    endpoint = f"{hub.url}{hub.base}"

    def one_a_page(right: Answer) -> Answer:
        parts = urlsplit(right.url)
        if "/tree/" not in parts.path:
            return right
        entries = json.loads(right.body)
        at = int(parts.query.rpartition("cursor=")[2]) if "cursor=" in parts.query else 0
        answer = replace(right, body=json.dumps(entries[at : at + 1]).encode())
        if at + 1 == len(entries):
            return answer
        rest = parts.path.rpartition("/api/models/")[2]
        query = f"recursive=true&cursor={at + 1}"
        following = LINKS[link].format(
            rest=f"{rest}?{query}", query=query, endpoint=endpoint, host=hub.url, base=hub.base,
            netloc=urlsplit(hub.url).netloc,
        )  # fmt: skip
        return answer.but(Link=f'<{following}>; rel="next"')

    hub.list_habit = one_a_page
    assert [file.path for file in fetch_tree(VARIANT).files] == sorted(FILES)
    assert sum("/tree/" in line for line in hub.requests) == len(FILES)
    assert hub.authorised == {"hub"}


def test_a_list_that_goes_on_at_no_list_is_an_error(hub: Hub) -> None:
    hub.list_habit = lambda right: right.but(Link='<https://elsewhere.example/more>; rel="next"')
    with pytest.raises(R1tuiError, match="its list of files continues on another site"):
        fetch_tree(VARIANT)


def test_files_come_from_below_the_path(hub: Hub, paths: Paths) -> None:
    done = CommandLine(paths)("download", f"hf:{REPO}:Q8_0")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == FILES["Tiny-R1-Q8_0.gguf"]


def test_the_path_stands_in_messages(hub: Hub, paths: Paths) -> None:
    hub.repositories[REPO].refusal = (403, "GatedRepo")
    with pytest.raises(R1tuiError) as caught:
        ask_hub(VARIANT, paths)
    assert f"{hub.url}{hub.base}/{REPO} " in caught.value.remedy
