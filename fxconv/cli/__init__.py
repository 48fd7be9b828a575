"""The command line: commands, options, exit status, terminal. No logic."""
