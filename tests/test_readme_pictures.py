"""The README's pictures: all there, small, none that nobody shows; and the card that is played in them."""

import re
from pathlib import Path

from r1tui.machine.nvml import NvmlSession, read_nvidia
from tests.tools.pictures import FOLDER
from tests.tools.played_card import played_card
from tests.tools.small_svg import small_svg

MIB = 1 << 20
README = Path(__file__).parent.parent / "README.md"


def test_the_readme_shows_each_picture_and_none_is_large() -> None:
    shown = set(re.findall(r"\(tests/pictures/([^)]+)\)", README.read_text()))
    assert shown == {picture.name for picture in FOLDER.iterdir()}
    assert all(picture.stat().st_size < 60_000 for picture in FOLDER.iterdir())


def test_a_played_card_is_full_while_its_server_runs() -> None:
    for pid, used_mib, own_mib in ((None, 0, None), (7, 140095, 140095)):
        with played_card(lambda pid=pid: pid):  # type: ignore[misc]
            (gpu,), (use,) = read_nvidia().gpus, NvmlSession().read(pid)
        assert (gpu.name, gpu.total_bytes, gpu.used_bytes) == ("NVIDIA H200", 143155 * MIB, used_mib * MIB)
        assert (use.own_bytes, use.power_w, use.busy_percent) == (own_mib and own_mib * MIB, 118, 0)


def test_a_small_picture_has_all_words_and_colours() -> None:
    rect = '<rect fill="#{}" x="{}" y="1.5" width="12.2" height="24.65" shape-rendering="crispEdges"/>'
    rects = "".join(rect.format(*one) for one in (("aaaaaa", 0), ("aaaaaa", 12.2), ("bbbbbb", 24.4), ("aaaaaa", 36.6)))
    texts = (
        '<text class="terminal-12-r1" x="0" clip-path="url(#terminal-12-line-0)">&#160;a</text>\n'
        '  <text x="9">&#160;</text>'
    )
    made = small_svg(f"<svg>{rects}\n{texts}</svg>")
    assert re.findall(r'fill="#(\w)\w+" x="([\d.]+)" y="1.5" width="([\d.]+)"', made) == [
        ("a", "0", "24.4"), ("b", "24.4", "12.2"), ("a", "36.6", "12.2"),
    ]  # fmt: skip
    assert '<text class="r1" x="0">\u00a0a</text></svg>' in made
