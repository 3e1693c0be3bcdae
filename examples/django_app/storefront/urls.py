"""Where the storefront answers."""

from django.urls import path

from storefront import accounts, catalog, checkout, recommender, shelves

urlpatterns = [
    path("", catalog.index),
    path("products", catalog.products),
    path("products/<int:number>", catalog.product),
    path("products/<int:number>/similar", recommender.similar),
    path("products/<int:number>/delivery", checkout.delivery),
    path("search", catalog.search),
    path("pages", catalog.page),
    path("categories/<slug:name>", shelves.category),
    path("compare", shelves.compare),
    path("recommendations", recommender.recommendations),
    path("login", accounts.Login.as_view()),
    path("cart/total", checkout.cart_total),
    path("orders", checkout.Orders.as_view()),
    path("orders.csv", checkout.orders),
]
