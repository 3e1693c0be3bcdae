"""The demonstration: a leaky shop under a real server."""
