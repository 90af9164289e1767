"""The operating system: files, locks, logs, processes, and programs that run for us."""
