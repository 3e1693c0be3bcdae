"""The Django face: a middleware for both kinds of servers, and checks of how it is set up."""

from leakmw.django.middleware import LeakMiddleware

__all__ = ["LeakMiddleware"]
