/** What an engine may hold in a container whose memory is bounded: VMs with dedicated CPUs have sidecars of 64 MB. */
import { MEMORY_LEAST, MEMORY_MOST, MIB } from "../../config/limit-options.ts";
import { FLOWS_MAX, UDP_MAPPINGS_MAX } from "../../engine/limits.ts";

/** Of both processes under load, without what the options below bound: 30 MiB measured at rest. */
const OWN_MIB = 40;
/** Below this a guest's receive buffers are no small part of it. */
const TIGHT_MIB = 128;
/**
 * What is left beside OWN_MIB is shared: a third for payloads, a third for connections (5 KiB of ours and of the kernel each),
 * the rest for UDP mappings (the remotes of one are 20 KiB at most).
 */
const FLOWS_PER_MIB = 64;
const MAPPINGS_PER_MIB = 16;

/** Options of `sluice run` for a container of so many octets, 0 where it has no bound. None where there is room for the defaults. */
export function memoryArguments(bound: number): string[] {
  const spare = boundMib(bound) - OWN_MIB;
  const memory = Math.floor(spare / 3);
  const flows = spare * FLOWS_PER_MIB;
  if (memory >= MEMORY_MOST && flows >= FLOWS_MAX) return [];
  const most = (wanted: number, limit: number, least: number): string =>
    String(Math.max(least, Math.min(wanted, limit)));
  return [
    ...["--memory", most(memory, MEMORY_MOST, MEMORY_LEAST)],
    ...["--max-flows", most(flows, FLOWS_MAX, FLOWS_PER_MIB)],
    ...["--max-udp-mappings", most(spare * MAPPINGS_PER_MIB, UDP_MAPPINGS_MAX, MAPPINGS_PER_MIB)],
  ];
}

/**
 * Whether the guest's memory is to be taken at its start. The engine writes to pages that the guest has not touched yet, and
 * the kernel counts such a page as the container's that touches it first: many megabytes with guests that do not clear what
 * they receive into. A container as small as this is that of a VM whose memory is guaranteed, and takes nobody else's.
 */
export function takesGuestMemory(bound: number): boolean {
  return boundMib(bound) < TIGHT_MIB;
}

/** What a person should know of such a container. */
export function memoryNotes(bound: number): string[] {
  const mib = boundMib(bound);
  return mib >= OWN_MIB + 3 * MEMORY_LEAST
    ? []
    : [
        `this container may use ${mib} MiB, too few for a guest under load: give sidecars 64 MiB or more (supportContainerResources of the KubeVirt object)`,
      ];
}

function boundMib(bound: number): number {
  return bound === 0 ? Number.POSITIVE_INFINITY : Math.floor(bound / MIB);
}
