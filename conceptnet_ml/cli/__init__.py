"""The command line: one file a command; each turns words into one call of the public API and prints."""
