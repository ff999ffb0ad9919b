"""The command line. Modules here import what is heavy inside their commands: `quarterdeck --help` answers at once."""
