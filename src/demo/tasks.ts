/** What the demo asks of its guest, and what the guest answers. */
import type { Lease } from "./dhcp-lease.ts";

export type GuestTask =
  | { readonly do: "lease"; readonly device: string; readonly mac: string }
  | { readonly do: "fetch"; readonly url: string }
  | { readonly do: "serve"; readonly port: number }
  | {
      readonly do: "transfer";
      readonly host: string;
      readonly port: number;
      readonly direction: "up" | "down";
      readonly ms: number;
    }
  | { readonly do: "hold"; readonly host: string; readonly port: number }
  | { readonly do: "dial"; readonly host: string; readonly port: number }
  | {
      readonly do: "ping";
      readonly device: string;
      readonly mac: string;
      readonly gatewayMac: string;
      readonly address: string;
      readonly gateway: string;
      readonly count: number;
    };

export interface GuestAnswer {
  readonly error?: string;
  readonly lease?: Lease;
  readonly status?: number;
  readonly body?: string;
  readonly answered?: number;
  /** `connected`, or the error's code. */
  readonly outcome?: string;
}
