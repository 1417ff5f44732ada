"""The sample drop of a new embedded database, so that every page has something to show: a tee in four sizes."""

from uuid import UUID

from api.database.database import Database
from api.drops.details import Description, Image, Price
from api.drops.new_product import NewProduct, create_product
from api.drops.products import Product, get_products, list_products

_NAME = "Aurora Tee"
_PICTURE = Image(
    "/static/aurora-tee.svg", "White tee with a wave of green, blue and violet, under northern lights", 800, 1000
)
_DESCRIPTION = "Heavy cotton, printed by hand.\nWash it inside out, at 30 °C."
_DESCRIPTIONS = (
    Description("ja", "厚手のコットンに、手作業でプリント。\n裏返して30℃で洗ってください。"),
    Description("zh-Hans", "厚实棉布，手工印花。\n请翻面以 30 °C 水洗。"),
    Description("ko", "두툼한 면에 손으로 프린트했습니다.\n뒤집어서 30°C로 세탁하세요."),
    Description("es", "Algodón grueso, estampado a mano.\nLavar del revés, a 30 °C."),
    Description("fr", "Coton épais, imprimé à la main.\nÀ laver à l’envers, à 30 °C."),
    Description("pt-BR", "Algodão grosso, estampado à mão.\nLave do avesso, a 30 °C."),
    Description("ar", "قطن سميك مطبوع يدويًا.\nيُغسل مقلوبًا عند 30 درجة مئوية."),
)


def _size(number: int, option: str, stock: int) -> NewProduct:
    # A fixed id: two processes that find no product at the same moment create the same one.
    return NewProduct(
        id=UUID(f"0d509e70-0000-4000-8000-{number:012}"),
        name=_NAME,
        drop_name="First Light",
        stock=stock,
        opens_at=None,
        limit_per_buyer=None,
        description=_DESCRIPTION,
        descriptions=_DESCRIPTIONS,
        images=(_PICTURE,),
        price=Price("48.00", "EUR"),
        family=_NAME,
        option=option,
    )


SAMPLE = _size(1, "XL", 100)
"""The product that GraphiQL's tabs name: the newest one, with units enough to try it."""

SIZES = (_size(4, "S", 5), _size(3, "M", 25), _size(2, "L", 50), SAMPLE)
"""In the order in which pages show them, that of their creation."""

_IDS = frozenset(size.id for size in SIZES)


async def create_sample_drop(database: Database) -> list[Product]:
    """Create the sizes of the sample unless there is another product already. A start that was cut off is completed by
    the next one. Returns the products that were created.

    Raises Conflict, Unavailable, OutcomeUnknown.
    """
    if any(product.id not in _IDS for product in (await list_products(database, first=len(SIZES) + 1)).items):
        return []
    found = await get_products(database, _IDS)
    if not all(size.describes(found[size.id]) for size in SIZES if size.id in found):
        return []  # the sample of an earlier version, which had one size
    return [await create_product(database, size) for size in SIZES if size.id not in found]
