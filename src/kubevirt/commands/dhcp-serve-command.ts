/** `sluice vm dhcp-serve`: the process that `up` starts to answer the guest whose address was the pod's. */
import { closeSync, readFileSync, writeSync } from "node:fs";
import { parseMac } from "../../config/address.ts";
import { native } from "../../host/native/native.ts";
import { readDevice } from "../machine/device-state.ts";
import { DhcpResponder } from "../machine/dhcp-responder.ts";
import { hostKernel } from "../machine/iproute.ts";
import { type DhcpOffer, dhcpConfigOf } from "../plan/delegation.ts";
import { EXIT_FAILED, EXIT_OK } from "./exit-status.ts";
import { UsageError } from "./usage-error.ts";
import type { VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

/** Linux's overflow ids. */
const NOBODY = 65534;

/** Serves until a signal, or until the bridge is gone. */
export async function dhcpServeCommand(args: VmArguments, io: VmIo): Promise<number> {
  const [device, file] = args.words;
  if (device === undefined || file === undefined)
    throw new UsageError([{ place: "DEVICE OFFER", allowed: "a bridge and the file of an offer" }]);
  const offer = JSON.parse(readFileSync(file, "utf8")) as DhcpOffer;
  const bridge = await readDevice(hostKernel, device);
  if (bridge === undefined) {
    io.stderr.write(`sluice vm dhcp-serve: no device ${device}\n`);
    return EXIT_FAILED;
  }
  return new Promise<number>((resolve) => {
    const responder = new DhcpResponder({
      device,
      mac: parseMac(bridge.mac),
      mtu: bridge.mtu,
      dhcp: dhcpConfigOf(offer),
      ended: (reason) => {
        io.stderr.write(`sluice vm dhcp-serve: ${reason}\n`);
        resolve(EXIT_FAILED);
      },
    });
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        responder.close();
        resolve(EXIT_OK);
      });
    }
    renouncePrivileges(io);
    announce(args.options.get("ready-fd"));
  });
}

/** The socket is open: from here on nothing of root is needed, and the guest's octets are about to come. */
function renouncePrivileges(io: VmIo): void {
  try {
    if (process.getuid?.() === 0) {
      process.setgroups?.([]);
      process.setgid?.(NOBODY);
      process.setuid?.(NOBODY);
    }
  } catch (error) {
    // A user namespace with one mapped id has no nobody.
    io.stderr.write(`sluice vm dhcp-serve: stays with its user: ${(error as Error).message}\n`);
  }
  const filtered = native.applySeccomp();
  if (filtered < 0) io.stderr.write(`sluice vm dhcp-serve: no seccomp filter (error ${-filtered})\n`);
}

function announce(text: string | undefined): void {
  if (text === undefined) return;
  const fd = Number(text);
  writeSync(fd, "1");
  closeSync(fd);
}
