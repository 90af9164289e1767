"""The state of the screen and what changes it, without a widget."""
