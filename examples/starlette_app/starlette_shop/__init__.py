"""A small shop on Starlette."""
