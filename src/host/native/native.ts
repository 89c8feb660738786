/** The shim, loaded when the first module that needs it is. */
import type { Native } from "./calls.ts";
import { loadShim } from "./native-loader.ts";

export const native: Native = loadShim();
