"""What lies in the heap, looked at without running any code of the app."""
