"""The queries of products: a page of the list, one product, and several by their ids."""

from typing import Annotated

import strawberry

from api.drops.keyset import Cursor, Page, Paging
from api.drops.limits import checked_id, checked_ids, checked_name
from api.drops.product_search import FoundProducts, ProductSort, search_products
from api.drops.products import MAX_COUNTED, count_products, get_products, list_products
from api.drops.products import Product as StoredProduct
from api.graphql import catalogue
from api.graphql.catalogue import ProductFilter, search_of
from api.graphql.context import Info
from api.graphql.cost import SEARCHED
from api.graphql.pagination import After, Before, First, Last, PageInfo
from api.graphql.products import Product
from api.graphql.public import PUBLIC


@strawberry.type(description="A product and its place in the list.")
class ProductEdge:
    cursor: str = strawberry.field(description="The product's place in the list; pass it as `after` or `before`.")
    node: Product = strawberry.field(description="The product.")


@strawberry.type(description="A page of products, newest first.")
class ProductConnection:
    edges: list[ProductEdge] = strawberry.field(description="The products of this page, with their cursors.")
    nodes: list[Product] = strawberry.field(description="The products of this page.")
    page_info: PageInfo = strawberry.field(description="The place of this page in the list.")
    drop_name: strawberry.Private[str | None] = None
    archived: strawberry.Private[bool] = False
    counted: strawberry.Private[bool] = True

    @strawberry.field(
        description=f"Products of the whole list, counted up to {MAX_COUNTED:,}: {MAX_COUNTED} stands for that many or "
        "more. Null for a list that is not counted.",
        metadata=PUBLIC,
    )
    async def total_count(self, info: Info) -> int | None:
        drops = info.context.drops
        if not self.counted:
            return None
        if self.drop_name is None or self.archived:
            return await count_products(drops.regions, self.drop_name, archived=self.archived)
        # A page of drops has a list of products for each of them.
        return await drops.drop_reads.count_products(checked_name("dropName", self.drop_name))

    @classmethod
    def of(cls, page: Page[StoredProduct], drop_name: str | None, *, archived: bool) -> "ProductConnection":
        cursors = [product.cursor.encode() for product in page.items]
        nodes = [Product.of(product) for product in page.items]
        return cls(
            edges=[ProductEdge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)],
            nodes=nodes,
            page_info=PageInfo.of(page, cursors),
            drop_name=drop_name,
            archived=archived,
        )

    @classmethod
    def of_search(cls, found: FoundProducts, sort: ProductSort) -> "ProductConnection":
        """A page of a search, which is not counted."""
        cursors = [Cursor(sort.kind, *sort.place_of(product)).encode() for product in found.items]
        nodes = [Product.of(product) for product in found.items]
        return cls(
            edges=[ProductEdge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)],
            nodes=nodes,
            page_info=PageInfo(
                has_next_page=found.has_next,
                has_previous_page=found.has_previous,
                start_cursor=None if found.start is None else found.start.encode(),
                end_cursor=None if found.end is None else found.end.encode(),
            ),
            counted=False,
        )


@strawberry.type
class ProductQueries:
    @strawberry.field(
        description="Products, newest first unless `sort` says otherwise, in pages (Relay cursor connections). A "
        "cursor belongs to one `sort`.",
        metadata={**PUBLIC, **SEARCHED},
    )
    async def products(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        drop_name: Annotated[str | None, strawberry.argument(description="Only the products of this drop.")] = None,
        archived: Annotated[
            bool | None, strawberry.argument(description="Only products that are archived, in place of all others.")
        ] = False,
        filter: Annotated[
            ProductFilter | None, strawberry.argument(description="Only the products that it describes.")
        ] = None,
        sort: Annotated[
            catalogue.ProductSort | None, strawberry.argument(description="The order of the list; NEWEST if left out.")
        ] = None,
    ) -> ProductConnection:
        chosen, drops = bool(archived), info.context.drops
        if filter is not None or sort is not None:
            search = await search_of(drop_name, chosen, filter, sort, drops.drop_reads)
            found = await search_products(drops.regions, search, Paging(first, after, last, before))
            return ProductConnection.of_search(found, search.sort)
        page = await list_products(drops.regions, first, after, drop_name, archived=chosen, last=last, before=before)
        return ProductConnection.of(page, drop_name, archived=chosen)

    @strawberry.field(description="One product; null when no product has this id.", metadata=PUBLIC)
    async def product(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The product's UUID.")],
        region: Annotated[
            str | None,
            strawberry.argument(
                description="The regional endpoint to read through; the server's home Region if left out."
            ),
        ] = None,
    ) -> Product | None:
        context = info.context
        product = await context.drops.read_product(checked_id("id", id), region, context.client)
        return None if product is None else Product.of(product)

    @strawberry.field(
        description="Products by their ids, in the order of the ids; null for an id that no product has.",
        metadata=PUBLIC,
    )
    async def products_by_ids(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="1 to 100 UUIDs of products.")],
    ) -> list[Product | None]:
        product_ids = checked_ids("ids", ids)
        products = await get_products(info.context.drops.regions, product_ids)
        found = {product_id: Product.of(product) for product_id, product in products.items()}
        return [found.get(product_id) for product_id in product_ids]
