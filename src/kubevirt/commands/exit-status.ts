/** How a command ends; `run` ends with QEMU's own status. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
/** Wrong use of a command, or a wrong spec. */
export const EXIT_WRONG = 2;
