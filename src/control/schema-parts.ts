/** What several resources are made of. */
import { z } from "zod";

export const count = z.int().nonnegative();
export const port = z.int().min(0).max(65535);
export const instant = z.iso.datetime({ precision: 3 });
export const endpointSchema = z.strictObject({
  address: z.string().meta({ description: "IPv4 or IPv6 address; IPv6 without brackets" }),
  port,
});
export const protocolSchema = z.enum(["tcp", "udp"]);
/** What happened at a time begins with it. */
export const at = z.strictObject({ at: instant });
export const id = z.int().positive();
