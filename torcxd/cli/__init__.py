"""The command line: one module a command, one parser for all (help, man pages and completion come from it)."""
