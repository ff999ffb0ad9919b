"""The import of a registered source, by its schedule."""
