"""Fetching: ranges, journal, checksums, and headers alone."""
