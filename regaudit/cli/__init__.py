"""The command line: parse, call, print, exit. Importing it costs no more than typer."""
