"""The transcript's colours: every one from the theme, resolved when a row is drawn."""

from rich.style import Style
from textual.widget import Widget

_ROLES = (  # noqa: SIM905  a list of thirty lines says no more
    "question answer summary thought thinking status failure scroll mark rule link inline strong em strike"
    " h1 h2 h3 h4 h5 h6 code keyword name builtin string number comment deleted inserted cursor wrong found"
).split()
COMPONENTS = {f"transcript--{role}" for role in _ROLES}
_ATTRIBUTES = {"strong": Style(bold=True), "em": Style(italic=True), "strike": Style(strike=True)}

CSS = """
Transcript {
    height: 1fr;
    background: $background;
    color: $foreground;

    & > .transcript--question { text-style: bold; }
    & > .transcript--thought { color: $text-muted; text-style: italic; }
    & > .transcript--thinking { color: $text-muted; }
    & > .transcript--status { color: $text-muted; text-style: italic; }
    & > .transcript--summary { color: $text-muted; }
    & > .transcript--failure { color: $error; }
    & > .transcript--scroll { color: $primary; }
    & > .transcript--mark { color: $primary; }
    & > .transcript--rule { color: $text-muted; }
    & > .transcript--link { color: $secondary; text-style: underline; }
    & > .transcript--inline { color: $accent; }
    & > .transcript--h1 { color: $primary; text-style: bold underline; }
    & > .transcript--h2 { color: $primary; text-style: bold; }
    & > .transcript--h3 { color: $secondary; text-style: bold; }
    & > .transcript--h4 { color: $secondary; }
    & > .transcript--h5 { color: $secondary; text-style: italic; }
    & > .transcript--h6 { color: $text-muted; text-style: italic; }
    & > .transcript--code { background: $surface; }
    & > .transcript--keyword { color: $secondary; }
    & > .transcript--name { color: $primary; }
    & > .transcript--builtin { color: $primary; }
    & > .transcript--string { color: $success; }
    & > .transcript--number { color: $accent; }
    & > .transcript--comment { color: $text-muted; text-style: italic; }
    & > .transcript--deleted { color: $warning; }
    & > .transcript--inserted { color: $success; }
    & > .transcript--cursor { color: $primary; text-style: reverse; }
    & > .transcript--wrong { color: $error; text-style: reverse; }
    & > .transcript--found { color: $accent; text-style: reverse; }
}
"""


def resolve(widget: Widget, role: str) -> Style:
    """The style of a role: the widget's own, and each of the role's names on top of it."""
    style = widget.rich_style
    names = role.split()
    for name in names:
        partial = _ATTRIBUTES.get(name) or widget.get_component_rich_style(f"transcript--{name}", partial=True)
        style += partial
    if any(name in ("thinking", "thought", "status", "summary", "comment", "rule") for name in names):
        style += _dim_where_muted_is_not_a_colour(style)
    return style


def _dim_where_muted_is_not_a_colour(style: Style) -> Style:
    """With the terminal's own colours muted text has the default colour, and needs the terminal's dim."""
    return Style(dim=True) if style.color is not None and style.color.is_default else Style()
