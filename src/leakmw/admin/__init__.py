"""The admin endpoint: a sans-IO service, its access rules and its page."""
