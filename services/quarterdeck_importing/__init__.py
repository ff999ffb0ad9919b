"""Filling the estate: from what a file, an importer or a server declares to events in the log, all of them or none."""
