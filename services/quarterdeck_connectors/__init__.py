"""Where an estate is read from: servers, files and traces, each turned into a declaration to apply."""
