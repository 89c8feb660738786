/** Code of the user's own in this process, which may have left timers, servers and connections open when the command has ended. */

/** How long it may go on then, milliseconds. */
const GRACE_MS = 200;

let isLoaded = false;

export function noteUserCode(): void {
  isLoaded = true;
}

/** The command has ended: so does the process, soon, whatever is open still. */
export function endWithUserCode(): void {
  if (isLoaded) setTimeout(() => process.exit(), GRACE_MS).unref();
}
