"""What the prompt keeps on disk, the labels in it, and the files that a question carries."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1tui.chat.attachments import (
    Attachment,
    as_asked,
    files_in,
    find_attached,
    find_candidates,
    mention,
    mentions,
    mentions_pasted,
    question_of,
    read_attachment,
    with_files,
)
from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.chat.typed import Recall, Typed, format_question, is_large, label_for, typed_of
from r1tui.errors import R1tuiError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(TEXTS, max_size=30), st.integers(1, 10), st.integers(50, 2_000))
def test_the_history_keeps_the_newest_questions_whole_within_its_bounds(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], most: int, most_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("h")
    history = PromptHistory(folder, most_entries=most, most_bytes=most_bytes)
    asked: list[str] = []
    for text in texts:
        history.add(Typed(text))
        if asked[-1:] != [text]:
            asked.append(text)
    kept = [entry.text for entry in history.entries()]
    assert kept == asked[len(asked) - len(kept) :]
    assert len(kept) <= most
    if asked:
        path = folder / "history.jsonl"
        assert kept
        assert path.stat().st_size <= most_bytes or len(kept) == 1
        assert path.stat().st_mode & 0o077 == 0


@given(st.binary(max_size=200))
def test_a_history_that_is_broken_anywhere_loses_that_line_only(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    folder = tmp_path_factory.mktemp("h")
    history = PromptHistory(folder)
    history.add(Typed("before"))
    [path] = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes() + rubbish)
    history.add(Typed("after"))
    texts = [entry.text for entry in history.entries()]
    assert texts[0] == "before"
    assert texts[-1] == "after"


def _unreadable(_: Path) -> bytes:
    raise OSError(errno.EIO, "Input/output error")


def test_a_history_that_cannot_be_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = PromptHistory(tmp_path)
    history.add(Typed("before"))
    with monkeypatch.context() as broken:
        broken.setattr("r1tui.system.files._read", _unreadable)
        assert history.entries() == []
        with pytest.raises(R1tuiError, match="Input/output error"):
            history.add(Typed("meanwhile"))
    history.add(Typed("after"))
    assert [entry.text for entry in history.entries()] == ["before", "after"]


def test_a_megabyte_with_its_label_comes_back_as_it_was(tmp_path: Path) -> None:
    text = "line\n" * 300_000
    typed = Typed("see [it]", {"[it]": text})
    PromptHistory(tmp_path).add(typed)
    (again,) = PromptHistory(tmp_path).entries()
    assert again == typed
    assert again.whole == f"see {text}"


def test_two_r1tui_at_once_lose_no_question(tmp_path: Path) -> None:
    def asks(name: str) -> None:
        history = PromptHistory(tmp_path, most_entries=1_000)
        for number in range(40):
            history.add(Typed(f"{name} {number}"))

    both = [threading.Thread(target=asks, args=(name,)) for name in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    texts = [entry.text for entry in PromptHistory(tmp_path).entries()]
    assert len(texts) == 80
    for name in "ab":
        assert [text for text in texts if text.startswith(name)] == [f"{name} {n}" for n in range(40)]


def test_a_draft_belongs_to_one_r1tui_until_that_is_gone(tmp_path: Path) -> None:
    first, second = Drafts(tmp_path), Drafts(tmp_path)
    assert first.take() is None
    first.save(Typed("one"))
    assert second.take() is None
    second.save(Typed("two"))
    first.leave(Typed("one more"))
    assert Drafts(tmp_path).take() == Typed("one more")
    second.leave(Typed())
    assert not (tmp_path / "draft-1.json").exists()


def test_a_draft_that_a_killed_r1tui_leaves_is_not_overwritten_by_one_that_runs(tmp_path: Path) -> None:
    killed, runs = Drafts(tmp_path), Drafts(tmp_path)
    killed.save(Typed("of the killed one"))
    assert runs.take() is None
    killed.leave(Typed("of the killed one"))
    runs.save(Typed("of the one that runs"))
    assert Drafts(tmp_path).take() == Typed("of the killed one")


def test_what_another_thread_keeps_too_late_is_not_kept(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.save(Typed("half a"))
    drafts.leave(Typed("half a question"))
    drafts.save(Typed("half a"))
    assert Drafts(tmp_path).take() == Typed("half a question")


def test_one_that_ends_before_it_has_shown_a_draft_leaves_it_as_it_is(tmp_path: Path) -> None:
    Drafts(tmp_path).leave(Typed("half a question"))
    brief = Drafts(tmp_path)
    assert brief.take() == Typed("half a question")
    brief.leave(None)
    assert Drafts(tmp_path).take() == Typed("half a question")


def test_what_a_kill_has_left_half_written_is_removed(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.leave(Typed("whole"))
    (tmp_path / ".draft-0.json.x1y2").write_text("{hal")
    assert Drafts(tmp_path).take() == Typed("whole")
    assert [path.name for path in tmp_path.glob(".draft*")] == []


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (PromptHistory(tmp_path / "file").add, Drafts(tmp_path / "file").save):
        with pytest.raises(R1tuiError) as failure:
            write(Typed("x"))
        assert failure.value.remedy


@given(st.lists(TEXTS, max_size=4), TEXTS)
def test_a_text_with_pieces_is_whole_again(pieces: list[str], rest: str) -> None:
    known: dict[str, str] = {}
    for piece in pieces:
        known[label_for(piece, known)] = piece
    text = rest.join(pieces)
    assert typed_of(text, known).whole == text


@given(st.text(), st.integers(0, 9_000))
def test_what_is_too_large_is_one_label(text: str, repeats: int) -> None:
    large = text * repeats
    typed = typed_of(large)
    assert typed.whole == large
    assert not is_large(typed.text)
    assert len(format_question(large, {})) <= 4_100


FILES = st.one_of(st.text(), st.text(alphabet="`a\n~ "), st.just("```\n" * 3), st.just("Attached file: x\n\n```\n"))


@given(st.lists(FILES, max_size=3), st.text(alphabet="ab \n"))
def test_no_text_ends_the_fence_that_it_stands_in(texts: list[str], question: str) -> None:
    texts = [text.replace("\r", "") for text in texts]
    blocks = [Attachment(f"file{n}.py", text).block() for n, text in enumerate(texts)]
    whole = "\n\n".join([question, *blocks])
    assert list(files_in(whole).values()) == blocks
    for text, block in zip(texts, blocks, strict=True):
        _, _, head, *lines = block.split("\n")
        fence = head.removesuffix("py")
        assert fence == "`" * len(fence)
        assert len(fence) >= 3
        assert fence not in text
        assert lines[-1] == fence
        assert "\n".join(lines[:-1]) == text.removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("see @a.py and (@b.py) @c", ["a.py", "b.py)", "c"]),
        ("me@example.org @", []),
        ('@"my file.md", @~/x', ["my file.md", "~/x"]),
        ("@a @a", ["a"]),
    ],
)
def test_a_mention_begins_a_word(text: str, names: list[str]) -> None:
    assert mentions(text) == names


@pytest.mark.parametrize("name", ["a.py", "my file.md", "odd).txt", "dir/naïve 日本.md"])
def test_a_file_is_found_by_its_mention_whatever_follows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("text")
    for text in (mention(name), f"({mention(name)}).", f"{mention(name)}, please", f"a\n{mention(name)}"):
        assert list(find_attached(text)) == [name]


def test_what_is_no_file_is_left_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    question = "@folder @pipe @gone @dataclass @~nobody/x"
    assert find_attached(question) == {}
    assert with_files(Typed(question)) == question


def test_a_question_that_is_edited_has_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Path(f"{name}.py").write_text(f"{name} = 1\n")
    asked = with_files(Typed("explain @a.py"))
    Path("a.py").write_text("a = 2\n")
    shown = as_asked(asked)
    edited = Typed(f"{shown.text}and @b.py", shown.pieces, shown.pasted)
    assert with_files(edited) == f"{asked}\n\nand @b.py\n\n{Attachment('b.py', 'b = 1').block()}"


def test_what_is_typed_beside_an_attached_file_is_on_lines_of_its_own() -> None:
    blocks = [Attachment("a.py", "a = 1\n").block(), Attachment("b.py", "b = 1\n").block()]
    shown = as_asked("\n\n".join(["explain", *blocks]))
    one, two = shown.pieces
    for text, sent in (
        (shown.text, ["explain", *blocks]),
        (f"explain {one}{two}please", ["explain ", *blocks, "please"]),
        (f"{one}\nand {two}.", [f"{blocks[0]}\nand ", blocks[1], "."]),
    ):
        whole = question_of(Typed(text, shown.pieces))
        assert whole == "\n\n".join(sent)
        assert list(files_in(whole).values()) == blocks


def test_code_that_was_pasted_stays_a_listing_whatever_is_typed_after_it() -> None:
    code = "```\n" + "pass\n" * 100 + "```"
    label = label_for(code, {})
    assert question_of(Typed(f"look: {label} why?", {label: code})) == f"look: {code}\n\n why?"


def test_what_was_pasted_attaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.py"):
        Path(name).write_text("pass\n")
    pasted = tuple(mentions_pasted("(see @a.py, please)"))
    assert find_attached("(see @a.py, please) and @a.py. @b.py", pasted) == {"b.py": Path("b.py")}
    question = "see @a.py"
    assert with_files(Typed(question, {}, pasted)) == question
    assert with_files(as_asked(question)) == question
    assert with_files(Typed(question)) != question


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"a\0b", "not a text file"), (b"caf\xe9", "not a text file in UTF-8"), (b"x" * (1 << 20) + b"y", "too large")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(R1tuiError) as failure:
        read_attachment("f", tmp_path / "f")
    assert why in failure.value.cause
    assert failure.value.remedy


def test_escape_sequences_of_a_log_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf\x1b[31mred\x1b[0m\r\n")
    assert read_attachment("f", tmp_path / "f").text == "red\n"


def test_a_big_folder_is_listed_as_far_as_is_useful(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"file{number:04}").touch()
    (tmp_path / "profile").touch()
    found = find_candidates(f"{tmp_path}/file")
    assert found.partial
    assert len(found.found) == 200
    assert found.found[0].name == f"{tmp_path}/file0000"
    narrowed = find_candidates(f"{tmp_path}/FILE29")
    assert len(narrowed.found) == 100
    assert not narrowed.partial
    assert [one.name for one in find_candidates(f"{tmp_path}/prof").found] == [f"{tmp_path}/profile"]


@pytest.mark.parametrize("typed", ["/nowhere/x", "~nobody/", "a\0b/", "README.md/x"])
def test_a_folder_that_cannot_be_listed_offers_nothing(typed: str) -> None:
    assert find_candidates(typed).found == []


def test_names_that_cannot_be_typed_are_not_offered(tmp_path: Path) -> None:
    for name in ("plain", "with\nnewline", 'with"quote', "with\x1bescape"):
        (tmp_path / name).touch()
    (tmp_path / "gone").symlink_to("nowhere")
    assert [one.name for one in find_candidates(f"{tmp_path}/").found] == [f"{tmp_path}/plain"]


@given(
    st.sampled_from(["draft", ""]), st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.booleans(), max_size=20)
)
def test_a_walk_back_and_forth_ends_at_the_draft(typed: str, asked: list[str], steps: list[bool]) -> None:
    recall = Recall()
    recall.entries = [Typed(text) for text in asked]
    now = draft = Typed(typed)
    for older in steps:
        found = recall.older(now) if older else recall.newer(now)
        now = now if found is None else found
        assert recall.draft(now) == draft
    while (later := recall.newer(now)) is not None:
        now = later
    assert now == draft
