"""The arguments and options of the command line, each once; those that belong together are a group."""
