"""The screens to choose and fetch models, imported when one of them is wanted: they need planner and hub."""

from r1tui.tui.screens.download import DownloadScreen
from r1tui.tui.screens.variants import VariantsScreen
from r1tui.tui.screens.welcome import WelcomeScreen


class ModelDialogs:
    """They by their names."""

    download = DownloadScreen
    models = VariantsScreen
    welcome = WelcomeScreen
