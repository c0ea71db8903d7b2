// Writes schema.d.ts, the types of the API, for openapi-fetch:
//
//     node generate.mjs URL_OF_OPENAPI_JSON
//
// The bytes of a file are a Blob, which fetch takes as a body; the command-line
// tool of openapi-typescript calls them a string.
import { writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const blob = ts.factory.createTypeReferenceNode(ts.factory.createIdentifier("Blob"));
const ast = await openapiTS(new URL(process.argv[2]), {
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
await writeFile("schema.d.ts", astToString(ast));
