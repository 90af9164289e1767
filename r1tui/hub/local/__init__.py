"""Model files on this machine, and folders with room."""
