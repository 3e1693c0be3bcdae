"""The commands of the shell: they ask an app and say its answer at a terminal, or as JSON."""
