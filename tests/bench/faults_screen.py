"""Faults of screens and supervisors while somebody chats: killed at random moments, closed and killed mid-answer."""

import random
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import sleep
from traceback import extract_tb
from typing import Literal

from r1tui.chat.conversation import Exchange
from r1tui.supervisor import client
from tests.bench.faults_rig import ANSWER_TOKENS, NEW_CHAT, PATIENCE_S, Home, kill
from tests.ptys import Terminal
from tests.supervisor_rig import until

Phase = Literal["start", "load", "ask", "chat", "stop"]
Victim = Literal["screen", "keeper", "both"]
PHASES: tuple[Phase, ...] = ("start", "load", "ask", "chat", "stop")
LATEST_S: dict[Phase, float] = {"start": 1.5, "load": 10.0, "ask": 0.5, "chat": 2.0, "stop": 1.0}
"""The latest moment of a kill, after the screen's start, the first sign of loading, Enter, the answer's first byte,
or the start of `r1tui stop` in the middle of an answer."""
LONG_TOKENS = 10_000
BUFFER_BYTES = 4 << 20
"""What llama-server keeps of an answer."""
FORGETS_S = 300.0 + 60.0
"""So long after an answer's end it has forgotten it: it looks once a minute for those older than five."""


class Undisturbed:
    """The answer to "hello" of a screen and a supervisor that nobody disturbs."""

    def __init__(self, here: Home) -> None:
        with Terminal() as terminal:
            here.ask(terminal)
            exchange = until(lambda: ended_exchange(here), PATIENCE_S)
            terminal.kill()
        self.whole = said(exchange)
        assert exchange.answer.state == "done", exchange

    @property
    def bytes(self) -> int:
        """How long it is."""
        return len("".join(self.whole).encode())

    def same(self, exchange: Exchange | None) -> bool:
        """Whether this is that answer, byte for byte."""
        return exchange is not None and exchange.answer.state == "done" and said(exchange) == self.whole

    def begins_with(self, exchange: Exchange) -> bool:
        """Whether what there is of this answer is a part of that one, from its first byte on."""
        whole, part = self.whole, said(exchange)
        return whole[0].startswith(part[0]) and whole[1].startswith(part[1]) and (not part[1] or part[0] == whole[0])


def said(exchange: Exchange) -> tuple[str, str]:
    """Thinking and answer."""
    return exchange.answer.thinking.text, exchange.answer.content.text


def ended_exchange(here: Home) -> Exchange | None:
    """The last exchange of the newest conversation once its answer has ended."""
    found = here.conversation()
    return found.exchanges[-1] if found is not None and found.exchanges and not found.running else None


@dataclass
class Round:
    """One kill of the campaign."""

    phase: Phase
    victim: Victim
    moment_s: float
    """After the phase's first sign, see LATEST_S."""

    def __str__(self) -> str:
        return f"{self.phase} {self.victim} {self.moment_s:.2f} s"


def rounds_of(number: int) -> list[Round]:
    """The campaign's kills: all phases in turn, victims and moments by chance."""
    chance = random.Random(number)  # noqa: S311
    victims: list[Victim] = ["screen", "keeper", "both"]
    return [
        Round(phase, chance.choice(victims), chance.uniform(0.0, LATEST_S[phase]))
        for phase in islice(cycle(PHASES), number)
    ]


def random_kills(here: Home, number: int) -> str:
    """kill -9 of screen, supervisor or both at a random moment of start, load, question, answer and stop."""
    folder = here.paths.state.parent
    small = folder / "model.gguf"
    shutil.copy(here.model, small)
    here.ready(max_tokens=ANSWER_TOKENS)
    undisturbed = Undisturbed(here)
    outcomes: Counter[str] = Counter()
    wrong = []
    for one in rounds_of(number):
        shutil.rmtree(here.paths.conversations, ignore_errors=True)
        shutil.rmtree(here.paths.prompt, ignore_errors=True)  # a question that was killed before it was sent
        try:
            outcome = _round(here, one, here.large if one.phase == "load" else small, undisturbed)
        except AssertionError as error:
            where = [frame.line for frame in extract_tb(error.__traceback__) if frame.filename == __file__]
            wrong.append(f"{one}: {error} ({where[-1]})")
            outcome = "wrong"
        print(f"    {one}: {wrong[-1] if outcome == 'wrong' else outcome}", file=sys.stderr, flush=True)
        outcomes[outcome] += 1
    assert not wrong, "; ".join(wrong)
    return f"{number} rounds, no stranger; " + ", ".join(f"{count} {what}" for what, count in outcomes.items())


def _round(here: Home, one: Round, model: Path, undisturbed: Undisturbed) -> str:
    """One kill, and what the next screen finds; raises AssertionError for what must not be."""
    stopping: subprocess.Popen[bytes] | None = None
    recorded = here.records()
    if one.phase in ("start", "load"):
        client.stop(here.paths)  # what the round before has left
    with Terminal("--variant", str(model)) as terminal:
        if one.phase == "load":
            until(lambda: client.status(here.paths).state in ("loading", "ready"), PATIENCE_S)
        elif one.phase in ("chat", "stop"):
            here.ask(terminal)
        elif one.phase == "ask":
            terminal.wait_for("Models")
            until(lambda: client.status(here.paths).state == "ready", PATIENCE_S)
            terminal.type(f"{NEW_CHAT}hello")
            terminal.wait_for("hello")
            terminal.type("\r")
        if one.phase == "stop":
            stopping = subprocess.Popen([sys.executable, "-m", "r1tui", "stop"], stderr=subprocess.DEVNULL)
        sleep(one.moment_s)
        before = client.status(here.paths)
        _kill(here, one.victim, terminal)
        if stopping is not None:
            stopping.wait(PATIENCE_S)
        until(lambda: not here.strangers(), PATIENCE_S)  # of what goes: a supervisor whose server has ended
    found = here.come_back()
    until(lambda: not here.strangers(), PATIENCE_S)
    now = client.status(here.paths)
    assert one.phase == "stop" or before.pid is None or now.pid == before.pid, f"another server: {now}"
    if one.phase in ("start", "load"):
        ready = here.settled().state == "ready"
        assert ready or before.pid is None, "it did not become ready"
        client.stop(here.paths)
        return f"{one.phase}: {'same server taken over, ready' if before.pid else 'before there was a server'}"
    if found is None or not found.exchanges:
        assert one.phase == "ask", "the conversation is lost"
        assert here.records() == recorded, "the answer of a conversation that is lost"
        return "killed before it was asked"
    exchange = found.exchanges[-1]
    assert exchange.question == "hello", exchange
    if undisturbed.same(exchange):
        return "answers whole"
    if one.phase == "stop" and undisturbed.begins_with(exchange):
        return f"answers {exchange.answer.state} by the stop with what had come"
    if (
        one.phase == "ask"
        and exchange.answer.state == "failed"
        and not any(said(exchange))
        and not here.knows(exchange.answer_id)
    ):
        return "killed before the question was sent"
    answer = exchange.answer
    raise AssertionError(
        f"the answer is {answer.state}, {len(answer.content.text)} characters, not whole: {answer.cause}"
    )


def _kill(here: Home, victim: Victim, terminal: Terminal) -> None:
    """End them without a word; a screen that outlives its supervisor brings another one."""
    supervisor = client.status(here.paths).supervisor_pid
    if victim != "screen" and supervisor is not None:
        with suppress(ProcessLookupError):
            kill(supervisor)
    if victim == "keeper":
        until(lambda: (now := client.status(here.paths)).supervisor_pid is not None or now.pid is None, PATIENCE_S)
    terminal.kill()


def lost_screens(
    here: Home, how: Literal["close", "kill"], when: Literal["at once", "ended", "forgotten"], screens: int
) -> str:
    """Screens lost in the middle of a 3,000-token answer; the next one has it whole.

    It comes at once, when the answer has ended, or when the server has forgotten it.
    """
    here.ready(max_tokens=ANSWER_TOKENS)
    undisturbed = Undisturbed(here)
    same = 0
    aside = [here.paths.conversations.with_name(f"aside-{number}") for number in range(screens)]
    for folder in aside:
        shutil.rmtree(here.paths.conversations, ignore_errors=True)
        _lose(here, how)
        if when == "at once":
            same += undisturbed.same(_last(here))
            continue
        until(lambda: not client.status(here.paths).answers, PATIENCE_S)
        here.paths.conversations.rename(folder)
    if when == "forgotten":
        sleep(FORGETS_S + 5.0)
    for folder in aside if when != "at once" else ():
        shutil.rmtree(here.paths.conversations, ignore_errors=True)
        folder.rename(here.paths.conversations)
        exchange = _last(here)
        assert exchange is not None
        assert here.knows(exchange.answer_id) == (when == "ended"), "the server's buffer is not as expected"
        same += undisturbed.same(exchange)
    assert same == screens, f"only {same} answers are whole"
    return f"{same} of {screens} answers byte for byte as an undisturbed one, {undisturbed.bytes} bytes"


def long_answers(here: Home) -> str:
    """A closed and a killed screen; the answer outgrows the server's buffer (4 MiB) before the next one comes."""
    here.set_longest_answer(LONG_TOKENS)
    here.ready(max_tokens=LONG_TOKENS)
    undisturbed = Undisturbed(here)
    sizes = []
    for how in ("close", "kill"):
        shutil.rmtree(here.paths.conversations, ignore_errors=True)
        before = here.records()
        _lose(here, how)
        until(lambda: not client.status(here.paths).answers, PATIENCE_S)
        [record] = here.records() - before
        sizes.append(record.stat().st_size)
        end = record.read_bytes()[-80:]
        assert sizes[-1] > BUFFER_BYTES, f"after {how} a record of {sizes[-1]} bytes, which ends with {end!r}"
        assert undisturbed.same(_last(here)), f"after {how}"
    mib = ", ".join(f"{size / 2**20:.1f}" for size in sizes)
    return f"2 of 2 answers byte for byte as an undisturbed one, {undisturbed.bytes} bytes in records of {mib} MiB"


def _lose(here: Home, how: str) -> None:
    """Ask, and lose the screen in the middle of the answer."""
    with Terminal() as terminal:
        here.ask(terminal)
        assert client.status(here.paths).answers, "the answer has ended already"
        if how == "close":
            assert terminal.hang_up() == 130
        else:
            terminal.kill()


def _last(here: Home) -> Exchange | None:
    """The last exchange that the next screen has."""
    found = here.come_back()
    return found.exchanges[-1] if found is not None and found.exchanges else None
