"""Terminal of all commands: parser and options, standard input, streams and output."""
