/** The schemas of whole documents: which one checks what, and the JSON Schema of all of them. */
import * as z from "zod";
import { mapping, spec2018 } from "./spec-schema.ts";
import { specToday } from "./spec-today.ts";
import type { VmKind, Vocabulary } from "./vm-kind.ts";

const SPECS = { "2018": spec2018, today: specToday } as const;

/** The schema of a whole object of a kind, in a vocabulary. */
export function objectSchema(kind: VmKind, vocabulary: Vocabulary): z.ZodType {
  return whole(kind, SPECS[vocabulary]);
}

function whole(kind: VmKind, spec: z.ZodType, head: Record<string, z.ZodType> = {}): z.ZodType {
  const body =
    kind === "VirtualMachine" ? z.looseObject({ template: z.looseObject({ spec }, mapping) }, mapping) : spec;
  return z.looseObject({ ...head, kind: z.literal(kind), spec: body });
}

const TODAY = z
  .string()
  .regex(/^kubevirt\.io\/v\d+((alpha|beta)\d+)?$/)
  .meta({ description: "The API group of KubeVirt, any version." });
const OTHER = z
  .string()
  .regex(/^(?!kubevirt\.io\/)/)
  .optional();

/**
 * The JSON Schema (draft 2020-12) of what a spec file may hold: a branch for each kind in today's words, and one for
 * each in those of 2018, which stand without KubeVirt's apiVersion.
 */
export function vmJsonSchema(): unknown {
  const list = z.looseObject({ kind: z.enum(["List", "VirtualMachineList", "VirtualMachineInstanceList"]) });
  const document = z
    .union([
      whole("VirtualMachine", specToday, { apiVersion: TODAY.optional() }),
      whole("VirtualMachineInstance", specToday, { apiVersion: TODAY.optional() }),
      whole("VM", specToday, { apiVersion: TODAY }),
      whole("VM", spec2018, { apiVersion: OTHER }),
      whole("VirtualMachineInstance", spec2018, { apiVersion: z.never().optional() }),
      whole("VirtualMachine", spec2018, { apiVersion: z.never().optional() }),
      list,
    ])
    .meta({
      title: "VM network spec",
      description: "A virtual machine and how it is connected to networks.",
    });
  return z.toJSONSchema(document, { io: "input" });
}

/** The keys a mapping at `path` of a spec may have; empty where any may stand. */
export function knownKeys(path: readonly (string | number)[], vocabulary: Vocabulary): readonly string[] {
  let schema: z.core.$ZodType = SPECS[vocabulary];
  for (const step of path) {
    schema = unwrapped(schema);
    if (schema instanceof z.ZodArray) schema = schema.element;
    else if (schema instanceof z.ZodObject && typeof step === "string" && Object.hasOwn(schema.shape, step)) {
      schema = schema.shape[step] as z.core.$ZodType;
    } else return [];
  }
  schema = unwrapped(schema);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault) inner = inner.unwrap();
  return inner;
}
