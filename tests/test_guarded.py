"""What nobody expected on the screen: what was going on ends, one line says so, the log has the traceback."""

import ast
import importlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Label

import r1tui.tui
from r1tui.catalog.variants import Variant
from r1tui.chat.conversation import Conversation
from r1tui.chat.export import Unsaved
from r1tui.chat.typed import Typed
from r1tui.errors import R1tuiError
from r1tui.events import StageFailed
from r1tui.messages import Status
from r1tui.planning.kept import AUTO
from r1tui.tui.controllers.answers import Receiving
from r1tui.tui.controllers.view import Question
from r1tui.tui.guarded import Guarded
from r1tui.tui.messages import ModelsOffered
from r1tui.tui.screens.conversations import ConversationsScreen
from r1tui.tui.screens.dialogs import SaveScreen
from r1tui.tui.screens.download import DownloadScreen
from r1tui.tui.screens.models import ModelsScreen, WelcomeScreen
from r1tui.tui.screens.overlays import ServerModelsScreen
from r1tui.tui.screens.sampling import SamplingScreen
from r1tui.tui.screens.unsaved import ElsewhereScreen, UnsavedScreen
from r1tui.tui.services.trials import Trials
from r1tui.tui.widgets.stages import Stages
from tests.guarded_rig import app, fail, fail_async, fail_while_iterated, logged
from tests.screen_rig import STATUS, StillApp
from tests.tui_rig import notices, opened, until

__all__ = ["app"]

DEMO = Variant("demo", "A model", repo="someone/something", size_gib=0.1)
SOURCES = sorted(Path(r1tui.tui.__path__[0]).rglob("*.py"))


Begin = Callable[[StillApp, Pilot[None]], Awaitable[object]]


@dataclass
class Case:
    """A worker, what it calls that fails, how it is begun, and what must be true afterwards."""

    name: str
    target: str
    begin: Begin
    after: Callable[[StillApp], bool] = lambda app: True
    failing: Callable[..., object] = fail


def do(begin: Callable[[StillApp], object]) -> Callable[[StillApp, Pilot[None]], Awaitable[object]]:
    async def begun(app: StillApp, pilot: Pilot[None]) -> None:
        begin(app)

    return begun


async def typed(app: StillApp, pilot: Pilot[None], text: str, keys: tuple[str, ...] = ()) -> None:
    app.chat.composer.prompt.insert(text)
    await pilot.pause()
    await pilot.press(*keys)


async def in_models(app: StillApp, pilot: Pilot[None], begin: Callable[[ModelsScreen], object]) -> None:
    await begin_models(app, pilot)
    screen = app.screen
    assert isinstance(screen, ModelsScreen)
    begin(screen)


async def begin_models(app: StillApp, pilot: Pilot[None], kind: type[ModelsScreen] = ModelsScreen) -> None:
    await app.push_screen(kind(app.services.models.catalog, app.config, app.paths, app.services.monitor.refresh))


async def in_download(app: StillApp, pilot: Pilot[None], begin: Callable[[DownloadScreen], object]) -> None:
    screen = DownloadScreen(DEMO, app.paths, app.config)
    await app.push_screen(screen)
    await until(pilot, lambda: not any(worker.group == "download" for worker in app.workers))
    begin(screen)


def pause(screen: DownloadScreen) -> None:
    screen.running = True
    screen.action_pause()


def is_listed(app: StillApp) -> bool:
    screen = app.screen
    return isinstance(screen, ConversationsScreen) and bool(screen.query(DataTable)) and bool(screen._listed)


async def in_conversations(app: StillApp, pilot: Pilot[None], keys: tuple[str, ...]) -> None:
    app.show_chat()
    await app.services.saved.save(app.chat.conversation)
    app.chat.parts.openers.do("conversations")
    await until(pilot, lambda: is_listed(app))
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


async def with_sampling(app: StillApp, pilot: Pilot[None]) -> None:
    app.chat.parts.openers.do("sampling")
    await until(pilot, lambda: isinstance(app.screen, SamplingScreen) and app.screen.filled)
    screen = app.screen
    assert isinstance(screen, SamplingScreen)
    screen._choose(msgspec.structs.replace(screen._now, temperature=0.123))


async def save_file(app: StillApp, pilot: Pilot[None]) -> None:
    await app.push_screen(SaveScreen("text", "name.md"))
    await pilot.press("enter")


async def check_code(app: StillApp, pilot: Pilot[None]) -> None:
    app.show_chat()
    await app.chat.action_do("selection", "select")
    await pilot.pause()
    app.chat.widgets.selection.action_check()


async def choose_model(app: StillApp, pilot: Pilot[None]) -> None:
    app.chat.post_message(ModelsOffered(["one", "two"]))
    await until(pilot, lambda: isinstance(app.screen, ServerModelsScreen))
    await pilot.pause()
    await pilot.press("enter")


async def unattached(app: StillApp, pilot: Pilot[None]) -> None:
    """As if a server of ours could be there; another's is looked at by its watch alone."""
    app.services.session._attach = None
    app.chat.models.watch()


async def begin(app: StillApp, pilot: Pilot[None]) -> None:
    app.chat.models.watch()


def restart(app: StillApp) -> None:
    app.services.session._attach = None
    app.chat.models.status = msgspec.structs.replace(STATUS, state="restarting")
    assert app.chat.models.status.waits_for_start
    app.chat.models.start()


def launch(app: StillApp) -> None:
    app.chat.models.launch(DEMO, replace=False)


def cancel(app: StillApp) -> None:
    app.services.session.launcher.following = True
    app.chat.models.cancel()


def follow(app: StillApp) -> None:
    app.chat.models._bring_up(app.services.session.launcher.follow(STATUS), "demo")


def undo_settings(app: StillApp, *, restart_fails_early: bool) -> None:
    """Keep the settings from before again: where the old server was not even stopped, else by the user's key."""
    models = app.chat.models
    trials = Trials(DEMO, app.config, app.paths)
    models._undo = partial(trials.keep, AUTO)
    if restart_fails_early:
        models.ready, models._failure = True, StageFailed.of("plan", R1tuiError("It does not fit."))
        models.launch_ended(ready=False)
    else:
        models.bring_back()


def end_thinking(app: StillApp) -> None:
    app.show_chat()
    app.chat.answers.receiving = Receiving(app.chat.conversation, app.chat.conversation.exchanges[0])
    app.chat.answers.end_thinking()


def answer(app: StillApp) -> None:
    app.chat.run_worker(app.chat.answers._ask(Question("Why?")))


def launch_failed(app: StillApp) -> bool:
    stages = app.chat.query_one(Stages)
    states = [view.state for view in stages._views]
    return not app.chat.models.launching and "failed" in states and "running" not in states


def answer_failed(app: StillApp) -> bool:
    exchange = app.chat.conversation.exchanges[-1]
    return (
        app.chat.answers.receiving is None and not app.services.session.answering and exchange.answer.state == "failed"
    )


def models_are_looked_at(app: StillApp) -> bool:
    table = app.screen.query_one(DataTable)
    return all("…" not in str(table.get_cell(row, "verdict")) for row in table.rows)


async def try_again(app: StillApp, pilot: Pilot[None]) -> None:
    screen = UnsavedScreen(UNSAVED, app.unsaved)
    await app.push_screen(screen)
    screen._try()


async def save_elsewhere(app: StillApp, pilot: Pilot[None]) -> None:
    await app.push_screen(screen := ElsewhereScreen(UNSAVED))
    screen._take(str(app.paths.state))


LOCAL = "r1tui.tui.services.local_models.LocalModels"
MODELS = "r1tui.tui.controllers.models.ModelController"
UNSAVED = Unsaved(R1tuiError("The disk is full.", "Free some disk space."), draft="x")
CASES = [
    Case("Saving the theme", "r1tui.tui.appearance.keep_theme", do(lambda app: app._keep("r1-dark"))),
    Case("Copying", "r1tui.tui.app.R1App._send", do(lambda app: app.copy_to_clipboard("x")), failing=fail_async),
    Case("Reading earlier questions", "r1tui.chat.prompt_files.PromptHistory.entries",
         do(lambda app: app.chat.composer._read()), lambda app: app.chat.composer.is_settled),
    Case("Reading earlier questions", "r1tui.chat.prompt_files.Drafts.take",
         do(lambda app: app.chat.composer._read()), lambda app: app.chat.composer.is_settled),
    Case("Saving the question", "r1tui.chat.prompt_files.PromptHistory.add",
         do(lambda app: app.chat.composer.was_asked(Typed("x")))),
    Case("Saving the draft", "r1tui.chat.prompt_files.Drafts.save", partial(typed, text="x"),
         lambda app: app.chat.composer.is_settled),
    Case("The editor", "r1tui.tui.services.composing.edited", do(lambda app: app.chat.composer.do("edit")),
         lambda app: not app.chat.composer.is_editing),
    Case("The list of files", "r1tui.tui.widgets.completion.find_candidates", partial(typed, text="@x"),
         lambda app: not app.chat.composer.completion.is_looking),
    Case("Counting the attached files", "r1tui.tui.services.composing.Scales.weigh", partial(typed, text="@x "),
         lambda app: not app.chat.composer.is_weighing),
    Case("Reading the settings", "r1tui.chat.choices.SamplingChoices.of",
         do(lambda app: app.chat.parts.openers.do("sampling"))),
    Case("Reading the settings", "r1tui.tui.services.session.Session.sampling",
         do(lambda app: app.chat.view.warn_of_the_same())),
    Case("Saving the settings", "r1tui.chat.choices.SamplingChoices.write", with_sampling),
    Case("Saving the file", "r1tui.tui.screens.dialogs.target", save_file),
    Case("Saving again", "r1tui.tui.services.unsaved.UnsavedWork.write", try_again, failing=fail_async),
    Case("Saving elsewhere", "r1tui.tui.screens.unsaved.rescue", save_elsewhere),
    Case("The list of models", "r1tui.tui.screens.models.overview", begin_models, models_are_looked_at),
    Case("Reading from the hub", "r1tui.tui.screens.models.ask_hub",
         partial(in_models, begin=lambda screen: screen.app.run_worker(
             screen._ask(DEMO, headers=False), name="Reading from the hub"))),
    Case("Deleting the model", "r1tui.tui.screens.models.find_removal",
         partial(in_models, begin=lambda screen: screen.app.run_worker(
             screen._delete(DEMO, Status()), name="Deleting the model"))),
    Case("The list of conversations", "r1tui.chat.store.Store.newest",
         do(lambda app: app.chat.parts.openers.do("conversations")),
         lambda app: "could not be read" in str(app.screen.query_one(Label).render())),
    Case("The export", "r1tui.chat.store.Store.look", partial(in_conversations, keys=("x", "m"))),
    Case("Changing the conversation", "r1tui.chat.store.Store.restore", partial(in_conversations, keys=("u",))),
    Case("The recommendation", "r1tui.tui.screens.models.detect_machine", partial(begin_models, kind=WelcomeScreen)),
    Case("Following the download", "r1tui.system.jobs.Job.events", partial(in_download, begin=id),
         lambda app: not app.screen.running, failing=fail_while_iterated),  # type: ignore[attr-defined]
    Case("Pausing the download", "r1tui.system.jobs.Job.stop",
         partial(in_download, begin=pause)),
    Case("Deleting the download", "r1tui.tui.screens.download.unfinished",
         partial(in_download, begin=lambda screen: screen.action_give_up())),
    Case("Saving the conversation", "r1tui.tui.services.saver.Saver.save",
         do(lambda app: app.chat.conversations.save_shown()), failing=fail_async),
    Case("Saving the conversation", "r1tui.tui.services.saver.Saver.save",
         do(lambda app: app.chat.run_worker(
             app.chat.conversations._save_and_leave(app.chat.conversation), name="Saving the conversation"))),
    Case("Asking", "r1tui.tui.services.chat_client.ChatClient.room", partial(typed, text="Why?", keys=("enter",)),
         lambda app: app.chat.composer.prompt.text == "Why?" and not app.chat.answers.is_weighing),
    Case("The answer", "r1tui.tui.services.server.Connection.client", do(answer), answer_failed),
    Case("The answer", "r1tui.tui.services.chat_client.ChatClient.ask", do(answer), answer_failed, fail_async),
    Case("Stopping the answer", "r1tui.tui.services.chat_client.ChatClient.stop",
         do(lambda app: app.chat.answers.stop()), failing=fail_async),
    Case("Ending the thinking", "r1tui.tui.services.chat_client.ChatClient.end_thinking", do(end_thinking),
         failing=fail_async),
    Case("Saving the prompt cache", "r1tui.tui.services.chat_client.ChatClient.leave_conversation",
         do(lambda app: app.chat.conversations.show(Conversation("x"))), failing=fail_async),
    Case("Opening the conversation", "r1tui.tui.controllers.conversations.ConversationController.open",
         partial(in_conversations, keys=("enter",)), failing=fail_async),
    Case("Checking the code", "r1tui.tui.widgets.selection.check", check_code),
    Case("Asking the server", "r1tui.tui.services.server.Connection.client", begin),
    Case("Watching the server", "r1tui.supervisor.client.adopt", unattached),
    Case("Watching the server", "r1tui.tui.services.session.Session.watch", unattached, failing=fail_async),
    Case("Restarting the server", "r1tui.supervisor.client.restart", do(restart)),
    Case("Stopping the server", "r1tui.supervisor.client.stop", do(lambda app: app.chat.models.do("stop_server"))),
    Case("Going back to the settings from before", "r1tui.tui.services.trials.keep",
         do(partial(undo_settings, restart_fails_early=True))),
    Case("Going back to the settings from before", "r1tui.tui.services.trials.keep",
         do(partial(undo_settings, restart_fails_early=False))),
    Case("Cancelling the launch", "r1tui.tui.screens.chat_view.ChatView.decide", do(cancel)),
    Case("The launch", "r1tui.launch.stages.Launch.prepare", do(launch),
         launch_failed, fail_while_iterated),
    Case("The launch", "r1tui.tui.services.launcher.Launcher.launch", do(launch),
         launch_failed, fail_async),
    Case("The launch", "r1tui.launch.loading.follow_server",
         do(follow), launch_failed, fail_while_iterated),
    Case("The list of models", "r1tui.tui.services.server.Connection.client",
         do(lambda app: app.chat.parts.openers.do("models"))),
    Case("Choosing the model", "r1tui.tui.services.session.Session.choose_model",
         choose_model, failing=fail_async),
    Case("Looking for downloads", f"{LOCAL}.downloading", do(lambda app: app.chat.models.do("find_download"))),
    Case("Switching models", f"{LOCAL}.neighbour", do(lambda app: app.chat.models.do("next"))),
    Case("Switching models", f"{MODELS}._is_soon_here", do(lambda app: app.chat.models.switch(DEMO))),
    Case("Reading the attached files", "r1tui.tui.widgets.composer.with_files",
         partial(typed, text="See @x.py", keys=("escape", "enter")),
         lambda app: app.chat.composer.prompt.text == "See @x.py"),
    Case("Rendering Markdown", "r1tui.tui.widgets.transcript.warm_up",
         do(lambda app: app.chat.widgets.transcript._warm_up())),
]  # fmt: skip


def said(app: StillApp) -> list[str]:
    """What the screen says of failures: in notices, in the stages, in answers."""
    stages = [f"{view.said} {view.remedy}" for view in app.chat.widgets.stages._views]
    errors = [f"{exchange.answer.cause} {exchange.answer.remedy}" for exchange in app.chat.conversation.exchanges]
    return [*notices(app), *stages, *errors]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}: {case.target.rpartition('.')[2]}")
async def test_an_exception_in_any_worker_is_said_and_logged_and_leaves_nothing_hanging(
    case: Case, app: StillApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(app, (100, 30)) as pilot:
        await until(pilot, lambda: app.chat.composer.is_settled)
        monkeypatch.setattr(case.target, case.failing)
        await case.begin(app, pilot)
        line = f"{case.name} ended with an unexpected error (SurpriseError)."
        await until(pilot, lambda: any(line in one for one in said(app)))
        await until(pilot, lambda: case.after(app))
        told = next(one for one in said(app) if line in one)
        assert str(app.paths.own_log) in told
        assert "\n" not in told.strip().replace("\nDetails", " Details")
        assert f"ERROR r1tui: {case.name} ended unexpectedly\n" in logged(app)
        assert ", in fail" in logged(app)
        assert logged(app).count("SurpriseError: ") >= 1
        monkeypatch.undo()
        assert app.is_running  # and goes on
        await pilot.press("escape", "f1")
        await pilot.pause()


def workers_of(source: Path) -> Iterator[tuple[ast.ClassDef, ast.Call]]:
    """The calls in the source that begin a worker, or say that a method is one, and their classes."""
    for kind in ast.walk(ast.parse(source.read_text())):
        if isinstance(kind, ast.ClassDef):
            for call in ast.walk(kind):
                name = call.func if isinstance(call, ast.Call) else None
                is_run = isinstance(name, ast.Attribute) and name.attr == "run_worker"
                if isinstance(call, ast.Call) and is_run:
                    yield kind, call
            for method in kind.body:
                for mark in getattr(method, "decorator_list", ()):
                    if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "work":
                        yield kind, mark


def name_of(call: ast.Call, module: object) -> str:
    """What a worker is called; through the constant where it is one."""
    value = next((one.value for one in call.keywords if one.arg == "name"), None)
    return str(getattr(module, value.id) if isinstance(value, ast.Name) else ast.literal_eval(value) if value else "")


def test_every_worker_is_guarded_and_has_a_name_for_people_and_a_case_above() -> None:
    names = set()
    for source in SOURCES:
        if source.name == "guarded.py":
            continue
        dotted = "r1tui.tui." + ".".join(source.relative_to(r1tui.tui.__path__[0]).with_suffix("").parts)
        for kind, call in workers_of(source):
            module = importlib.import_module(dotted)
            name = name_of(call, module)
            assert name[:1].isupper(), f"{source}:{call.lineno}"
            names.add(name)
            cls = getattr(module, kind.name)
            users = [one for one in subclasses(cls) if one.__module__.startswith("r1tui.")] or [cls]
            at_chat = "controllers" in source.parts or kind.name in ("ChatView", "Openers")  # by its screen
            assert at_chat or all(issubclass(one, Guarded) for one in users), cls
    of_their_own = {"Quitting", "The log", "The start", "Planning", "Applying the settings"}  # tests elsewhere
    assert names - {case.name for case in CASES} == of_their_own


def subclasses(cls: type[object]) -> list[type[object]]:
    """All that inherit from it, to the last."""
    direct: list[type[object]] = cls.__subclasses__()
    return [one for sub in direct for one in (sub, *subclasses(sub))]
