"""What is on this machine already, and where there is room."""
