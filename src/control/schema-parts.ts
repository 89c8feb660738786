/** What several resources are made of. */
import { z } from "zod";

export const count = z.int().nonnegative();
export const port = z.int().min(0).max(65535);
export const instant = z.iso.datetime({ precision: 3 });
export const id = z.int().positive();
