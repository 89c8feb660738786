/** A port of ours that the guest is to be refused, for as long as we listen. */
import type { ControlClient } from "../control/client.ts";

/** An instance that has gone may come again under its name. */
const AGAIN_MS = 1000;

/** Settles when the instance refuses it; rejects when it cannot. Returns what ends that. */
export async function keepFromGuest(
  client: ControlClient,
  address: string,
  port: number,
): Promise<() => void> {
  let kept = await client.keepPort(address, port);
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const again = (): void => {
    if (isOver) return;
    timer = setTimeout(() => {
      client.keepPort(address, port).then((answer) => {
        kept = answer;
        if (isOver) kept.destroy();
        else kept.once("close", again);
      }, again);
    }, AGAIN_MS);
  };
  kept.once("close", again);
  return () => {
    isOver = true;
    clearTimeout(timer);
    kept.destroy();
  };
}
