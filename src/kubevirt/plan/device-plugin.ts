/**
 * How a network device plugin says which pod-side interface it made for a network: JSON in an environment variable
 * whose name starts with a fixed prefix. Nothing else is asked of a plugin.
 */

import * as z from "zod";
import { parseDeviceName } from "../../config/link-grammar.ts";
import { Unacceptable } from "../../config/problem.ts";

export const RESOURCES_PREFIX = "NETWORK_INTERFACE_RESOURCES_";

const RESOURCES = z.looseObject({
  name: z.string(),
  interfaces: z.array(z.looseObject({ name: z.string(), protocol: z.string() })),
});

/** What is wrong with the plugin's side of a network. */
export interface ResourceProblem {
  readonly place: string;
  readonly found: string;
  readonly allowed: string;
}

export interface Resources {
  /** Pod-side device by interface name of the VM. */
  readonly devices: ReadonlyMap<string, string>;
  readonly problems: readonly ResourceProblem[];
}

interface Announcement {
  readonly variable: string;
  readonly resource: string;
  readonly interfaces: readonly { readonly name: string; readonly protocol: string }[];
}

/**
 * Finds the device for each wanted interface. Variables are taken in sorted order and each device once, so that a
 * network announced several times, or with several interfaces, gives one NIC: the first.
 */
export function findResources(
  wanted: readonly { readonly nic: string; readonly resourceName: string }[],
  env: Readonly<Record<string, string | undefined>>,
): Resources {
  const devices = new Map<string, string>();
  const problems: ResourceProblem[] = [];
  if (wanted.length === 0) return { devices, problems };
  const announcements = announced(env, problems);
  const taken = new Set<string>();
  for (const { nic, resourceName } of wanted) {
    const offers = announcements.filter(({ resource }) => resource === resourceName);
    const choice = offers
      .flatMap(({ variable, interfaces }) => interfaces.map((device) => ({ variable, device })))
      .find(({ device }) => !taken.has(device.name));
    const problem =
      choice === undefined ? missing(resourceName, offers) : unusable(choice.variable, choice.device);
    if (problem !== undefined) problems.push(problem);
    else if (choice !== undefined) {
      taken.add(choice.device.name);
      devices.set(nic, choice.device.name);
    }
  }
  return { devices, problems };
}

function announced(
  env: Readonly<Record<string, string | undefined>>,
  problems: ResourceProblem[],
): Announcement[] {
  const variables = Object.keys(env).filter((name) => name.startsWith(RESOURCES_PREFIX));
  return variables.sort().flatMap((variable) => {
    const parsed = RESOURCES.safeParse(parseJson(env[variable] ?? ""));
    if (parsed.success) return [{ variable, resource: parsed.data.name, interfaces: parsed.data.interfaces }];
    problems.push({
      place: variable,
      found: env[variable] ?? "",
      allowed:
        '{"name":"<device-plugin>/<network>","interfaces":[{"name":"<device>","protocol":"Ethernet"}]}',
    });
    return [];
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function missing(resourceName: string, offers: readonly Announcement[]): ResourceProblem {
  const found = offers.length === 0 ? "no variable that names it" : "no interface that is still free";
  return {
    place: `resource ${resourceName}`,
    found,
    allowed: `an environment variable ${RESOURCES_PREFIX}... of its device plugin with an interface for it`,
  };
}

function unusable(
  variable: string,
  device: { readonly name: string; readonly protocol: string },
): ResourceProblem | undefined {
  if (device.protocol !== "Ethernet") {
    return { place: variable, found: `protocol ${JSON.stringify(device.protocol)}`, allowed: '"Ethernet"' };
  }
  try {
    parseDeviceName(device.name);
    return undefined;
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    return { place: variable, found: `interface ${JSON.stringify(device.name)}`, allowed: error.allowed };
  }
}
