/** What the control API tells of names: `sluice dns`. */
import { z } from "zod";
import { at, count, endpointSchema, protocolSchema } from "./schema-parts.ts";

/** A question that the guest asked, as events and listings tell it. */
export const questionFields = {
  guest: endpointSchema,
  transport: protocolSchema,
  name: z.string(),
  questionType: z.string(),
  rcode: z.string().nullable(),
  addresses: z.array(z.string()),
  ttlSeconds: count,
  answeredBy: z.enum(["resolver", "sluice", "nobody"]),
  durationMs: count,
} as const;

export const dnsQuerySchema = z.strictObject({
  address: z.string().max(45).optional().meta({ description: "only what has to do with this address" }),
});

export const dnsSchema = z
  .strictObject({
    questions: z
      .array(at.extend(questionFields))
      .meta({ description: "the last 256 that have ended, the newest first" }),
    pins: z
      .array(
        z.strictObject({
          address: z.string(),
          name: z.string(),
          endsInMs: count.meta({ description: "without what its open flows may add then" }),
          isStandIn: z.boolean().meta({ description: "the address is nobody's: it stands for the name" }),
        }),
      )
      .meta({
        description: "names that a policy takes to lead to an address, those of the last flows first",
      }),
  })
  .meta({ id: "Dns" });

export type Dns = z.infer<typeof dnsSchema>;
