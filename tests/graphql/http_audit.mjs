// Runs the audit of npm's graphql-http against the server whose URL is the first argument, and prints each case's
// result as one line of JSON.
import { auditServer } from 'graphql-http';

for (const result of await auditServer({ url: process.argv[2], fetchFn: fetch })) {
  const { id, name, status, reason } = result;
  console.log(JSON.stringify({ id, name, status, reason }));
}
