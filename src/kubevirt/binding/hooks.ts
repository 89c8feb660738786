/** The hooks of KubeVirt's launcher, as methods: Info and Callbacks, and the DomainHookService of its Plugin objects. */

import type { Wanted } from "./engine-keeper.ts";
import { CallRefusal, type UnaryMethod } from "./grpc.ts";
import {
  type DomainRequest,
  decodeMutateDomain,
  decodeOnDefineDomain,
  encodeDomainResult,
  encodeInfoResult,
  MessageError,
} from "./messages.ts";
import { type BindingPlace, networkBinding } from "./network-binding.ts";

/** Newest first; the launcher takes the newest that it knows. */
const VERSIONS = ["v1alpha3", "v1alpha2"];
/** Others than the first to be asked are asked in the order of their names. */
const PRIORITY = 0;

const CALLBACKS = VERSIONS.map((version) => `/kubevirt.hooks.${version}.Callbacks`);
/** After the reply to one of these there is nothing left to do. */
export const SHUTDOWN_PATHS: readonly string[] = ["/kubevirt.hooks.v1alpha3.Callbacks/Shutdown"];

/** The only description of a domain there is. */
const DOMAIN_TYPE = "libvirt";

export interface HookParts {
  readonly place: BindingPlace;
  /** Settles when it is served; rejects with what stands in the way. */
  readonly want: (wanted: Wanted) => Promise<void>;
  readonly say: (message: string) => void;
}

/** Methods by their paths. */
export function hookMethods(parts: HookParts): ReadonlyMap<string, UnaryMethod> {
  const define: UnaryMethod = async (message) => defineDomain(parts, read(decodeOnDefineDomain, message));
  const info = encodeInfoResult({
    name: parts.place.binding,
    hookPoints: ["OnDefineDomain", "Shutdown"].map((name) => ({ name, priority: PRIORITY })),
    versions: VERSIONS,
  });
  const nothing: UnaryMethod = async () => new Uint8Array();
  return new Map<string, UnaryMethod>([
    ["/kubevirt.hooks.info.Info/Info", async () => info],
    ...CALLBACKS.map((service): [string, UnaryMethod] => [`${service}/OnDefineDomain`, define]),
    ...SHUTDOWN_PATHS.map((path): [string, UnaryMethod] => [path, nothing]),
  ]);
}

/** The same function behind the hook that replaces OnDefineDomain one day. */
export function domainHookMethods(parts: HookParts): ReadonlyMap<string, UnaryMethod> {
  const mutate: UnaryMethod = async (message) => {
    const request = read(decodeMutateDomain, message);
    if (request.domainType !== DOMAIN_TYPE)
      throw new CallRefusal("INVALID_ARGUMENT", `a domain of type ${request.domainType}, not ${DOMAIN_TYPE}`);
    return defineDomain(parts, request);
  };
  return new Map([["/kubevirt.hooks.plugins.v1alpha1.DomainHookService/MutateDomain", mutate]]);
}

async function defineDomain({ place, want, say }: HookParts, request: DomainRequest): Promise<Uint8Array> {
  const utf8 = new TextDecoder();
  const { domainXml, notes, ...wanted } = networkBinding(
    place,
    utf8.decode(request.domainXml),
    utf8.decode(request.vmi),
  );
  for (const note of notes) say(`note: ${note}`);
  try {
    await want(wanted);
  } catch (error) {
    const reasons = (error as Error).message.split("\n").join("; ");
    throw new CallRefusal("FAILED_PRECONDITION", `the guest cannot be served: ${reasons}`);
  }
  return encodeDomainResult(new TextEncoder().encode(domainXml));
}

function read<T>(decode: (message: Uint8Array) => T, message: Uint8Array): T {
  try {
    return decode(message);
  } catch (error) {
    if (!(error instanceof MessageError)) throw error;
    throw new CallRefusal("INVALID_ARGUMENT", error.message);
  }
}
