"""`python -m r1tui` is `r1tui`."""

from r1tui.cli import main

if __name__ == "__main__":
    main()
