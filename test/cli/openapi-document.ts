/** docs/openapi.json, made from the routes and the schemas that check requests: openapi.test.ts keeps them together. */
import { z } from "zod";
import { ROUTES, type Route } from "../../src/control/routes.ts";
import * as schema from "../../src/control/schema.ts";
import { ownVersion } from "../../src/host/version.ts";

type Json = Record<string, unknown>;

const reference = (id: string): string => `#/components/schemas/${id}`;

/** Of a schema that is one of the named ones, a reference. */
function schemaOf(type: z.ZodType, io: "input" | "output"): Json {
  const id = type.meta()?.["id"];
  if (typeof id === "string") return { $ref: reference(id) };
  const { $schema: _, ...rest } = z.toJSONSchema(type, { io }) as Json;
  return rest;
}

function parametersOf(path: string, query: z.ZodType | undefined): Json[] {
  const inPath = path.includes("{id}")
    ? [{ name: "id", in: "path", required: true, schema: { type: "integer", minimum: 1 } }]
    : [];
  if (query === undefined) return inPath;
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: "input" }) as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  const inQuery = Object.entries(properties).map(([name, { description, ...type }]) => ({
    name,
    in: "query",
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: type,
  }));
  return [...inPath, ...inQuery];
}

const PROBLEM = {
  description: "Everything that is wrong (RFC 9457)",
  content: { "application/problem+json": { schema: { $ref: reference("Problem") } } },
};

const MEANINGS: Readonly<Record<number, string>> = {
  200: "The answer",
  201: "What was made",
  202: "It has begun",
  204: "Done",
};

function operationOf(route: Route): Json {
  const parameters = parametersOf(route.path, route.query);
  const content = route.mediaType
    ? { [route.mediaType]: { schema: { type: "string" } } }
    : route.response && { "application/json": { schema: schemaOf(route.response, "output") } };
  return {
    operationId: operationId(route.method, route.path),
    summary: route.summary,
    description: `The command: ${route.verb}`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: { "application/json": { schema: schemaOf(route.body, "input") } },
          },
        }),
    responses: {
      [route.status]: { description: MEANINGS[route.status], ...(content === undefined ? {} : { content }) },
      default: PROBLEM,
    },
  };
}

function operationId(method: string, path: string): string {
  const words = path
    .replace("/v1/", "")
    .replace("/{id}", "/one")
    .split("/")
    .filter((word) => word !== "");
  return [method.toLowerCase(), ...words].join("-");
}

const EVENTS: Json = {
  operationId: "get-events",
  summary: "What happens, as server-sent events",
  description: "The command: sluice events. Each event's data is one of the schema Event.",
  parameters: [
    {
      name: "types",
      in: "query",
      required: false,
      description: "behind commas; all by default",
      schema: { type: "string" },
    },
    {
      name: "Last-Event-ID",
      in: "header",
      required: false,
      description: "goes on behind this one",
      schema: { type: "string" },
    },
  ],
  responses: {
    200: { description: "The stream", content: { "text/event-stream": { schema: { type: "string" } } } },
    default: PROBLEM,
  },
};

/** Every named schema. */
function components(): Json {
  const exported: readonly unknown[] = Object.values(schema);
  const named = exported.filter(
    (value): value is z.ZodType => value instanceof z.ZodType && typeof value.meta()?.["id"] === "string",
  );
  const registry = z.registry<{ id: string }>();
  for (const type of named) registry.add(type, { id: String(type.meta()?.["id"]) });
  const { schemas } = z.toJSONSchema(registry, { uri: reference, io: "output" });
  const entries = Object.entries(schemas as Record<string, Json>).map(
    ([id, { $schema: _, $id: __, id: ___, ...rest }]) => [id, rest],
  );
  return Object.fromEntries(entries.sort(([a], [b]) => String(a).localeCompare(String(b))));
}

export function openapiDocument(): Json {
  const paths: Record<string, Json> = {};
  for (const route of ROUTES) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) };
  }
  paths["/v1/events"] = { get: EVENTS };
  return {
    openapi: "3.1.0",
    info: {
      title: "sluice control API",
      version: ownVersion(),
      description: "On a Unix socket of each instance; see control.md.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "http://localhost", description: "the host name does not count" }],
    security: [],
    paths,
    components: { schemas: components() },
  };
}
