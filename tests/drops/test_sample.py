"""The sample drop: created once, completed after a start that was cut off, and never beside products of a shop."""

from pathlib import Path

import api.storefront
from api.database.pool import Pool
from api.drops.details import described_in
from api.drops.new_product import NewProduct, create_product
from api.drops.products import list_products
from api.drops.sample import SAMPLE, SIZES, create_sample_drop
from api.storefront.languages import LANGUAGES


async def options(pool: Pool) -> list[str | None]:
    """Newest first."""
    return [product.option for product in (await list_products(pool, 10)).items]


async def test_the_sample_is_created_once_and_completed(pool: Pool) -> None:
    await create_product(pool, SIZES[0])  # the start was cut off after the first size
    assert [size.option for size in await create_sample_drop(pool)] == ["M", "L", "XL"]
    assert await create_sample_drop(pool) == []
    assert await options(pool) == ["XL", "L", "M", "S"]


async def test_no_sample_is_added_to_other_products_or_to_the_sample_of_an_earlier_version(pool: Pool) -> None:
    earlier = NewProduct(SAMPLE.id, SAMPLE.name, SAMPLE.drop_name, 100, opens_at=None, limit_per_buyer=None)
    await create_product(pool, earlier)
    assert await create_sample_drop(pool) == []
    await create_product(pool, NewProduct.checked(name="Cap", drop_name="Night", stock=1))
    assert await create_sample_drop(pool) == []
    assert len(await options(pool)) == 2


def test_the_sample_has_a_picture_and_speaks_every_language() -> None:
    [picture] = SAMPLE.images
    folder = Path(api.storefront.__file__).parent
    drawing = (folder / picture.url.lstrip("/")).read_text(encoding="utf-8")
    assert f'width="{picture.width}" height="{picture.height}"' in drawing
    texts = [described_in(tag, SAMPLE.descriptions, SAMPLE.description) for tag in LANGUAGES]
    assert len(set(texts)) == len(LANGUAGES)
