"""One module per command, with its name."""
