"""Where the shop answers."""

from django.urls import include, path

urlpatterns = [path("", include("storefront.urls"))]
