"""The arguments and options of the command line, each once, in groups."""
