"""What screens and controllers are given: the ways to the server and to the disk."""
