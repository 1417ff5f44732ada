// The types of each interface and union of the schema, for the caches of Apollo Client and of urql.
import { readFileSync } from 'node:fs';
import { buildSchema, isAbstractType } from 'graphql';

const schema = buildSchema(readFileSync('schema.graphql', 'utf8'));
const interfacesAndUnions = Object.values(schema.getTypeMap()).filter(isAbstractType);

export const possibleTypes = Object.fromEntries(
  interfacesAndUnions.map((type) => [type.name, schema.getPossibleTypes(type).map(({ name }) => name)]),
);
