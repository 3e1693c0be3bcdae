"""How it is said: JSON, text, Markdown, log events."""
