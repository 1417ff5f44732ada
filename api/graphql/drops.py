"""Drops: the type, its connection, and the queries."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated

import strawberry

from api.drops.catalogue import Drop as StoredDrop
from api.drops.catalogue import list_drops
from api.drops.drop_reads import DropReads
from api.drops.keyset import Page, Paging
from api.drops.products import Product as StoredProduct
from api.graphql.context import Info
from api.graphql.node import Node
from api.graphql.pagination import After, Before, First, Last, PageInfo
from api.graphql.product_queries import ProductConnection
from api.graphql.public import PUBLIC


@strawberry.type(description="What products with one `dropName` belong to. It is created with its first product.")
class Drop(Node):
    id: strawberry.ID = strawberry.field(description="A UUID; derived from the name.")
    slug: str = strawberry.field(
        description="Its name in addresses: 1 to 60 characters of a-z, 0-9 and hyphens. It never changes."
    )
    name: str = strawberry.field(description="The `dropName` of its products.")
    created_at: datetime = strawberry.field(description="When its first product was created.")
    stored: strawberry.Private[StoredDrop]

    @strawberry.field(
        description="When the first of its products opens, by the database's clock (see `now`). Null when one has been "
        "open since its creation. Archived products do not count; when all are archived, it is null.",
        metadata=PUBLIC,
    )
    async def opens_at(self, info: Info) -> datetime | None:
        return await info.context.drops.drop_reads.opens_at(self.stored)

    @strawberry.field(
        description="Its products that are not archived, newest first, in pages (Relay cursor connections). See "
        "`products(filter: { drop: ... })` for others, and for another order.",
        metadata=PUBLIC,
    )
    async def products(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> ProductConnection:
        page = await info.context.drops.drop_reads.products(self.stored, Paging(first, after, last, before))
        return ProductConnection.of(page, self.name, archived=False)

    @classmethod
    def of(cls, drop: StoredDrop) -> "Drop":
        return cls(
            id=strawberry.ID(str(drop.id)), slug=drop.slug, name=drop.name, created_at=drop.created_at, stored=drop
        )


def drop_of(product: StoredProduct, reads: DropReads) -> Drop | Awaitable[Drop]:
    """The drop of a product. It is awaitable only if it has to be read: most pages show few drops, again and again."""
    known = reads.known(product.drop_name)
    return _read_drop_of(product, reads) if known is None else Drop.of(known)


async def _read_drop_of(product: StoredProduct, reads: DropReads) -> Drop:
    return Drop.of(await reads.of_product(product))


@strawberry.type(description="A drop and its place in the list.")
class DropEdge:
    cursor: str = strawberry.field(description="The drop's place in the list; pass it as `after` or `before`.")
    node: Drop = strawberry.field(description="The drop.")


@strawberry.type(description="A page of drops, newest first.")
class DropConnection:
    edges: list[DropEdge] = strawberry.field(description="The drops of this page, with their cursors.")
    nodes: list[Drop] = strawberry.field(description="The drops of this page.")
    page_info: PageInfo = strawberry.field(description="The place of this page in the list.")

    @classmethod
    def of(cls, page: Page[StoredDrop]) -> "DropConnection":
        cursors = [drop.cursor.encode() for drop in page.items]
        nodes = [Drop.of(drop) for drop in page.items]
        return cls(
            edges=[DropEdge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)],
            nodes=nodes,
            page_info=PageInfo.of(page, cursors),
        )


@strawberry.type
class DropQueries:
    @strawberry.field(description="Drops, newest first, in pages (Relay cursor connections).", metadata=PUBLIC)
    async def drops(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> DropConnection:
        return DropConnection.of(await list_drops(info.context.drops.regions, first, after, last=last, before=before))

    @strawberry.field(description="One drop; null when no drop has this slug.", metadata=PUBLIC)
    async def drop(
        self, info: Info, slug: Annotated[str, strawberry.argument(description="The drop's slug.")]
    ) -> Drop | None:
        drop = await info.context.drops.drop_reads.by_slug(slug)
        return None if drop is None else Drop.of(drop)
