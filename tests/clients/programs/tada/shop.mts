// A typed shop without a client library: gql.tada derives the types from the schema and the text of each operation.
import { type ResultOf, type TadaDocumentNode, readFragment } from 'gql.tada';
import { print } from 'graphql';
import { graphql } from './graphql.mjs';

declare const process: { argv: string[] };
declare const console: { log(line: string): void };

const shop: { url: string; drop: string; pageSize: number; products: Record<string, string> } =
  JSON.parse(process.argv[2]!);
const saw = (check: string, seen: unknown) => console.log(JSON.stringify({ check, saw: seen }));

const Card = graphql(`
  fragment Card on Product { id name stock opensAt price { amount currency } }
`);

const List = graphql(
  `
    query List($drop: String!, $first: Int!, $after: String) {
      products(dropName: $drop, first: $first, after: $after) {
        edges { node { ...Card } }
        pageInfo { endCursor hasNextPage }
      }
    }
  `,
  [Card],
);
