"""What the shop keeps."""

from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=80)
    category = models.CharField(max_length=40, db_index=True)
    cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return str(self.name)


class Order(models.Model):
    customer = models.CharField(max_length=80)
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.product} for {self.customer}"
