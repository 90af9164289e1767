"""The files of kept prompts: which one a request is served with, what is allowed on the disk, what is never used."""

import os
import shutil
from pathlib import Path
from time import time
from types import SimpleNamespace

import msgspec
import pytest

from r1tui.messages import ProcessId
from r1tui.server.prompt_cache import (
    FLAG,
    CacheNote,
    PromptCacheFolder,
    PromptChain,
    SlotContent,
    folder_of,
    identity_of,
    prompt_of,
)
from r1tui.system.processes import boot_id

LONG = [("user", "x" * 900), ("assistant", "y" * 50), ("user", "z" * 50)]
GIB = 1 << 30


def prompt(*messages: tuple[str, str], identity: str = "tiny", tokens: int = 1000, tps: float = 10.0) -> PromptChain:
    return msgspec.structs.replace(prompt_of(identity, messages), tokens=tokens, tps=tps)


def held(one: PromptChain, **fields: object) -> SlotContent:
    known = {"task": 1, "bytes_per_token": 1000.0, "limit_bytes": GIB, **fields}
    return SlotContent(prompt=one, server=ProcessId(1, "then"), **known)  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path) -> PromptCacheFolder:
    return PromptCacheFolder(tmp_path)


def put(
    kept: PromptCacheFolder, one: PromptChain, n_bytes: int = 100, boot: str | None = None, age_s: float = 0.0
) -> PromptChain:
    part = kept.file(one).with_suffix(".1.part")
    part.write_bytes(bytes(n_bytes))
    kept.keep(part, CacheNote(one, n_bytes, 0.001, boot or boot_id()))
    os.utime(kept.file(one).with_suffix(".json"), (time() - age_s, time() - age_s))
    return one


def test_the_kept_prompt_that_a_request_shares_most_with_is_chosen(kept: PromptCacheFolder) -> None:
    put(kept, prompt(("user", "something else")))
    whole = put(kept, prompt(*LONG))
    put(kept, prompt(LONG[0], ("assistant", "another answer"), ("user", "z")))
    best = kept.best(prompt(*LONG, ("assistant", "a"), ("user", "more")))
    assert best is not None
    assert best.prompt == whole
    assert kept.best(prompt(("user", "never said"))) is None


def test_a_branch_shares_what_stands_before_it(kept: PromptCacheFolder) -> None:
    one = put(kept, prompt(*LONG))
    edited = prompt(*LONG[:2], ("user", "asked otherwise"))
    assert one.shared_tokens(edited) == 950
    assert one.shared_tokens(prompt(("user", "y"))) == 0
    assert one.shared_tokens(prompt(*LONG, identity="another model")) == 0


def test_with_a_conversation_go_its_prompts_and_no_others(kept: PromptCacheFolder, tmp_path: Path) -> None:
    mine, other, nobody_s = (
        put(kept, msgspec.structs.replace(prompt(("user", name)), conversation=name)) for name in ("c1", "c2", "")
    )
    kept.hold(held(mine))
    kept.drop_of(["c1", "c3"])
    assert [kept.file(one).exists() for one in (mine, other, nobody_s)] == [False, True, True]
    assert kept.held(ProcessId(1, "then")) is None
    kept.hold(held(other))
    kept.drop_of(["c1"])
    assert kept.held(ProcessId(1, "then")) is not None
    PromptCacheFolder(tmp_path / "never made").drop_of(["c1"])


def test_a_file_of_another_length_or_an_earlier_boot_is_not_used_and_goes(kept: PromptCacheFolder) -> None:
    cut = put(kept, prompt(*LONG))
    kept.file(cut).write_bytes(bytes(50))
    old = put(kept, prompt(("user", "hi")), boot="before")
    assert kept.best(cut) is None
    assert kept.best(old) is None
    kept.make_room(0, GIB)
    assert not kept.file(cut).exists()
    assert not kept.file(old).exists()


def test_a_longer_prompt_takes_the_place_of_its_beginning_and_leaves_other_branches(kept: PromptCacheFolder) -> None:
    short = put(kept, prompt(LONG[0]))
    branch = put(kept, prompt(LONG[0], ("assistant", "b"), ("user", "c")))
    whole = put(kept, prompt(*LONG))
    assert not kept.file(short).exists()
    assert kept.file(branch).exists()
    assert kept.file(whole).exists()


def test_the_oldest_make_room_and_what_was_given_up_goes(kept: PromptCacheFolder, tmp_path: Path) -> None:
    old = put(kept, prompt(("user", "a")), age_s=300)
    used = put(kept, prompt(("user", "b")), age_s=200)
    new = put(kept, prompt(("user", "c")), age_s=100)
    kept.used(used)
    stray, written = tmp_path / "a.7.part", tmp_path / "b.8.part"
    for part in (stray, written):
        part.touch()
    os.utime(stray, (time() - 100, time() - 100))
    kept.make_room(100, 300)
    assert [kept.file(one).exists() for one in (old, used, new)] == [False, True, True]
    assert not stray.exists()
    assert written.exists()


def test_only_what_saves_time_and_has_room_is_worth_it(
    kept: PromptCacheFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50 * GIB))
    assert kept.is_worth(held(prompt(*LONG)), 1e6)
    assert not kept.is_worth(held(prompt(*LONG, tps=1000.0)), 1e6)  # read again in a second
    assert not kept.is_worth(held(prompt(*LONG), limit_bytes=1000), 1e6)
    assert not kept.is_worth(held(prompt(*LONG, tokens=100_000), limit_bytes=100 * GIB), 39 * GIB)  # too slow
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=GIB))
    assert not kept.is_worth(held(prompt(*LONG)), 1e6)


def test_a_model_that_uses_nothing_twice_in_a_row_is_left_alone(kept: PromptCacheFolder) -> None:
    assert [kept.judge("m", in_vain=vain) for vain in (True, False, True)] == [False, False, False]
    assert not kept.is_off("m")
    assert kept.judge("m", in_vain=True)
    assert kept.is_off("m")
    assert not kept.is_off("another")


def test_what_is_held_is_of_one_server_and_rubbish_is_nothing(kept: PromptCacheFolder, tmp_path: Path) -> None:
    now = held(prompt(*LONG))
    kept.hold(now)
    assert kept.held(now.server) == now
    assert kept.held(ProcessId(1, "later")) is None
    (tmp_path / "held").write_bytes(b"\xff")
    (tmp_path / "x.json").write_bytes(b"[]")
    assert kept.held(now.server) is None
    assert kept.best(now.prompt) is None


def test_an_identity_changes_with_what_the_cache_depends_on(tmp_path: Path) -> None:
    model, binary = tmp_path / "m.gguf", tmp_path / "llama-server"
    model.write_bytes(b"model")
    binary.write_bytes(b"binary")
    base = [str(binary), "--model", str(model), "--ctx-size", "8192", "--cache-type-k", "f16", "--threads", "4"]
    same = [str(binary), "--model", str(model), "--threads", "8", "-ctk", "f16", "-c", "8192", "--seed", "1"]
    assert identity_of(base) == identity_of(same)
    assert identity_of(base) != identity_of([*base[:6], "q8_0", *base[7:]])
    assert identity_of(base) != identity_of([*base, "--lora", "x.gguf"])
    before = identity_of(base)
    os.utime(model, ns=(1, 1))
    assert identity_of(base) != before


def test_the_folder_is_what_the_command_says() -> None:
    assert folder_of(["llama-server", FLAG, "/x/y"]) == Path("/x/y")
    assert folder_of(["llama-server"]) is None
