/** KubeVirt's launcher as a client of hooks: gRPC's own library for Node, with messages by the description in hooks.proto. */
import { fileURLToPath } from "node:url";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";

const MESSAGES = loadSync(fileURLToPath(new URL("hooks.proto", import.meta.url)), {
  keepCase: true,
  defaults: true,
});

type Coder = MessageTypeDefinition<object, object>;

function coder(name: string): Coder {
  return MESSAGES[`kubevirt.hooks.${name}`] as Coder;
}

export interface Info {
  readonly name: string;
  readonly hookPoints: readonly { readonly name: string; readonly priority: number }[];
  readonly versions: readonly string[];
}

export class HookClient {
  readonly #client: Client;

  constructor(path: string) {
    this.#client = new Client(`unix:${path}`, credentials.createInsecure(), {
      "grpc.default_authority": "localhost",
    });
  }

  info(): Promise<Info> {
    return this.call("/kubevirt.hooks.info.Info/Info", "InfoParams", {}, "InfoResult") as Promise<Info>;
  }

  /** The domain's XML with the card. Rejects with gRPC's ServiceError. */
  async define(domainXml: string, vmi: unknown, version = "v1alpha3"): Promise<string> {
    const reply = await this.call(
      `/kubevirt.hooks.${version}.Callbacks/OnDefineDomain`,
      "OnDefineDomainParams",
      { domainXML: Buffer.from(domainXml), vmi: Buffer.from(JSON.stringify(vmi)) },
      "OnDefineDomainResult",
    );
    return (reply as { domainXML: Buffer }).domainXML.toString();
  }

  async mutate(domain: string, vmi: unknown, domainType = "libvirt"): Promise<string> {
    const reply = await this.call(
      "/kubevirt.hooks.plugins.v1alpha1.DomainHookService/MutateDomain",
      "MutateDomainRequest",
      {
        domain_type: domainType,
        domain: Buffer.from(domain),
        vmi: Buffer.from(JSON.stringify(vmi)),
        context: { invocation_context: "Boot" },
      },
      "MutateDomainResponse",
    );
    return (reply as { domain: Buffer }).domain.toString();
  }

  async shutdown(): Promise<void> {
    await this.call("/kubevirt.hooks.v1alpha3.Callbacks/Shutdown", "ShutdownParams", {}, "ShutdownResult");
  }

  call(path: string, request: string, message: object, reply: string): Promise<object> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        (value: object) => coder(request).serialize(value),
        (octets: Buffer) => coder(reply).deserialize(octets),
        message,
        { deadline: Date.now() + 20_000 },
        (error: ServiceError | null, value) => (error === null ? resolve(value as object) : reject(error)),
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}
