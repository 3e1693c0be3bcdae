"""The tables, and the sixty products that the shop sells."""

from typing import Any, ClassVar

from django.db import migrations, models

CATEGORIES = ("chairs", "lamps", "shelves", "tables")


def stock(apps: Any, _schema_editor: Any) -> None:
    product = apps.get_model("storefront", "Product")
    product.objects.bulk_create(
        product(
            id=number,
            name=f"{CATEGORIES[number % 4]} no. {number}",
            category=CATEGORIES[number % 4],
            cents=900 + 25 * number,
        )
        for number in range(1, 61)
    )


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(primary_key=True, auto_created=True, serialize=False)),
                ("name", models.CharField(max_length=80)),
                ("category", models.CharField(max_length=40, db_index=True)),
                ("cents", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(primary_key=True, auto_created=True, serialize=False)),
                ("customer", models.CharField(max_length=80)),
                ("cents", models.PositiveIntegerField()),
                (
                    "product",
                    models.ForeignKey(on_delete=models.PROTECT, to="storefront.product"),
                ),
            ],
        ),
        migrations.RunPython(stock, migrations.RunPython.noop),
    ]
