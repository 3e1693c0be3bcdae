"""What is alive and where it was born."""
