/** The JSON Schema and the validator come from one definition; here an independent checker reads the schema. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { vmJsonSchema } from "../../../src/kubevirt/spec/spec-schema.ts";
import { newForm, oldForm, sample, WHOLE_SAMPLES, wrappedFragment } from "../samples.ts";

const ajv = new Ajv2020({ strict: false });
const valid = ajv.compile(vmJsonSchema() as Record<string, unknown>);

describe("the JSON Schema", () => {
  it("accepts every sample", () => {
    for (const text of [...WHOLE_SAMPLES.map(sample), wrappedFragment()]) {
      expect(valid(parse(text)), JSON.stringify(valid.errors)).toBe(true);
    }
  });

  it.each([
    newForm("[{name: red}]"),
    newForm("[{name: red, bridge: {}, slirp: {}}]"),
    newForm("[{name: red, bridge: {delegateIp: true}}]"),
    newForm("[{name: red, slirp: {}, model: E1000}]"),
    newForm("[{name: red, slirp: {}, ports: [{port: 0}]}]"),
    newForm('[{name: red, slirp: {}, macAddress: "01:00:5e:00:00:01"}]'),
    newForm('[{name: "a,b", slirp: {}}]'),
    newForm("[{name: red, slirp: {}}]", "[{name: red}]"),
    oldForm("[{name: red, slirp: {}}]"),
    "kind: Service",
  ])("refuses %j", (text) => {
    expect(valid(parse(text))).toBe(false);
  });

  it("describes every field for an editor", () => {
    const { $defs } = vmJsonSchema() as {
      $defs: Record<string, { properties: Record<string, { description?: string }> }>;
    };
    for (const definition of ["Interface", "OldInterface", "Network", "Port"]) {
      for (const [key, field] of Object.entries($defs[definition].properties)) {
        expect(field.description, `${definition}.${key}`).toBeTruthy();
      }
    }
  });
});
