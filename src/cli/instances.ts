/** Which of the running instances a verb is about. */
import { unlinkSync } from "node:fs";
import { type ControlClient, controlClient } from "../control/client.ts";
import { instanceNames, runDirectory, socketPath } from "../control/run-directory.ts";
import type { State } from "../control/schema.ts";

/** No instance, or not the one. */
export class InstanceError extends Error {
  override readonly name = "InstanceError";
}

export interface Found {
  readonly client: ControlClient;
  readonly state: State;
}

/** Instances that answer. Sockets that nobody serves any more, as after a kill -9, are removed. */
export async function runningInstances(): Promise<Found[]> {
  const directory = runDirectory(process.env);
  const found = await Promise.all(
    instanceNames(directory).map(async (name): Promise<Found[]> => {
      const path = socketPath(directory ?? "", name);
      const client = controlClient(path);
      try {
        return [{ client, state: await client.state() }];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") removeStale(path);
        return [];
      }
    }),
  );
  return found.flat();
}

function removeStale(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Another sluice was quicker.
  }
}

/** The instance at `path`, the one called `name`, or the only one there is. Throws an InstanceError. */
export async function instanceOf(name: string | undefined, path: string | undefined): Promise<ControlClient> {
  if (path !== undefined) return controlClient(path);
  const directory = runDirectory(process.env);
  if (name !== undefined && directory !== undefined && instanceNames(directory).includes(name))
    return controlClient(socketPath(directory, name));
  const running = await runningInstances();
  const names = running.map(({ state }) => state.name).join(", ");
  if (name !== undefined) {
    throw new InstanceError(
      `--name: found "${name}"; allowed: ${names === "" ? "nothing, none runs" : names}`,
    );
  }
  if (running.length > 1) throw new InstanceError(`--name: several run; allowed: one of ${names}`);
  const [only] = running;
  if (only === undefined) {
    throw new InstanceError(
      directory === undefined
        ? "no instance: there is no XDG_RUNTIME_DIR to look in; --control PATH names a socket"
        : `no instance runs (there is none in ${directory}); --control PATH names a socket elsewhere`,
    );
  }
  return only.client;
}
