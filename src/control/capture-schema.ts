/** Captures as the control API has them (schema.ts). */
import { z } from "zod";
import { OCTETS_DEFAULT, SNAP_MAX } from "../host/captures/capture-spec.ts";
import { count, id, instant } from "./schema-parts.ts";

const SNAP_LEAST = 64;
const FILE_LEAST = 4096;
const captureWishes = {
  flow: id.optional().meta({ description: "frames of this flow alone" }),
  host: z.string().min(1).max(300).optional().meta({
    description:
      "frames of flows with ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT or NAME, as the guest's link shows them",
  }),
};
const BOUNDS = {
  snap: "octets kept of each frame",
  octets: "the capture ends before it has more; 0: no such bound",
  frames: "the capture ends with so many; 0: no such bound",
  seconds: "the capture ends after so many; 0: no such bound",
} as const;
const snap = z.int().min(SNAP_LEAST).max(SNAP_MAX);
const octetsBound = z.union([z.literal(0), z.int().min(FILE_LEAST)]);

export const captureRequestSchema = z
  .strictObject({
    path: z
      .string()
      .regex(/^\/[^\0]*$/)
      .max(4096)
      .meta({ description: "absolute; created or overwritten with the instance's rights, mode 0600" }),
    ...captureWishes,
    drops: z.boolean().default(false).meta({ description: "only frames of the guest that were dropped" }),
    snap: snap.default(SNAP_MAX).meta({ description: BOUNDS.snap }),
    octets: octetsBound.default(OCTETS_DEFAULT).meta({ description: BOUNDS.octets }),
    frames: count.default(0).meta({ description: BOUNDS.frames }),
    seconds: count.default(0).meta({ description: BOUNDS.seconds }),
  })
  .meta({ id: "CaptureRequest" });

/** The same in a query. */
export const captureStreamQuerySchema = z.strictObject({
  flow: z.coerce.number().pipe(id).optional().meta({ description: "frames of this flow alone" }),
  host: captureWishes.host,
  drops: z
    .enum(["true", "false"])
    .default("false")
    .transform((text) => text === "true")
    .meta({ description: "only frames of the guest that were dropped" }),
  snap: z.coerce.number().pipe(snap).default(SNAP_MAX).meta({ description: BOUNDS.snap }),
  octets: z.coerce.number().pipe(octetsBound).default(0).meta({ description: BOUNDS.octets }),
  frames: z.coerce.number().pipe(count).default(0).meta({ description: BOUNDS.frames }),
  seconds: z.coerce.number().pipe(count).default(0).meta({ description: BOUNDS.seconds }),
});

export const captureSchema = z
  .strictObject({
    id: id.meta({ description: "never given twice by an instance" }),
    path: z.string().nullable().meta({ description: "null: who asked for it reads it" }),
    flow: id.nullable(),
    host: z.string().nullable(),
    drops: z.boolean(),
    startedAt: instant,
    frames: count.meta({ description: "so far" }),
    octets: count,
    lost: count.meta({ description: "frames that its reader was too slow for" }),
    ended: z.string().nullable().meta({ description: "why it has ended; null while it goes on" }),
  })
  .meta({ id: "Capture" });
export const captureListSchema = z
  .strictObject({ captures: z.array(captureSchema) })
  .meta({ id: "CaptureList" });

export type CaptureRequest = z.output<typeof captureRequestSchema>;
/** What a client may leave out is as the schema says. */
export type CaptureWish = z.input<typeof captureRequestSchema>;
export type CaptureStreamQuery = Omit<CaptureWish, "path">;
export type CaptureResource = z.infer<typeof captureSchema>;
