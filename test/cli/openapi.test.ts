import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { flowNumber, STATE } from "../support/control-rig.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { openapiDocument } from "./openapi-document.ts";

const document = openapiDocument();

it("docs/openapi.json is what the schemas say (npx vitest run test/cli/openapi.test.ts -u writes it)", async () => {
  const text = `${JSON.stringify(document, null, 2)}\n`;
  await expect(text).toMatchFileSnapshot(join(PROJECT_ROOT, "docs/openapi.json"));
});

describe("the schemas of docs/openapi.json", () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "openapi", ...document });
  const validate = (id: string, value: unknown): boolean =>
    ajv.validate({ $ref: `openapi#/components/schemas/${id}` }, value);

  it("take what the API answers, and nothing with another member", () => {
    expect(validate("State", STATE)).toBe(true);
    expect(validate("State", { ...STATE, more: 1 })).toBe(false);
    expect(validate("FlowPage", { flows: [flowNumber(1)], next: null })).toBe(true);
    expect(validate("FlowPage", { flows: [{ ...flowNumber(1), id: 0 }], next: null })).toBe(false);
    expect(validate("Problem", { type: "about:blank", title: "x", status: 404, detail: "y" })).toBe(true);
    expect(validate("Event", { type: "link", at: "2026-11-28T08:00:00.000Z", up: true, name: "tap" })).toBe(
      true,
    );
    expect(validate("Event", { type: "nonsense", at: "2026-11-28T08:00:00.000Z" })).toBe(false);
  });

  it("are all there that are referred to", () => {
    const referred = [...JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g)].map(
      ([, id]) => id,
    );
    const { schemas } = document["components"] as { schemas: Record<string, unknown> };
    expect(referred.length).toBeGreaterThan(10);
    expect(referred.filter((id = "") => !(id in schemas))).toEqual([]);
  });

  it("belong to operations whose names are all different", () => {
    const paths = document["paths"] as Record<string, Record<string, { operationId: string }>>;
    const ids = Object.values(paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });
});
