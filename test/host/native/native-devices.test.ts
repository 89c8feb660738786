import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";
import { addonPath } from "../../../src/host/native/native-loader.ts";
import { needs } from "../../support/requirements.ts";

const ENODEV = -19;
const ENOENT = -2;
const EINVAL = -22;
const EIO = -5;
const EBUSY = -16;
const ENAMETOOLONG = -36;

describe("devices", () => {
  it("are opened, configured, read and written in a namespace", (context) => {
    needs(context, { root: true, tun: true, commands: ["unshare", "ip"] });
    const script = fileURLToPath(new URL("native-in-namespace.mjs", import.meta.url));
    const output = execFileSync("unshare", ["--net", process.execPath, script, addonPath()], {
      encoding: "utf8",
    });
    expect(JSON.parse(output)).toEqual({
      tapOpen: true,
      tapName: "slutest0",
      tapFlags: 0x5002,
      offload: 0,
      offloadUnknown: EINVAL,
      whileDown: 0,
      writeWhileDown: EIO,
      busy: EBUSY,
      index: true,
      written: 1,
      arpReply: true,
      datagramOctets: 10 + 14 + 20 + 8 + 100,
      partialChecksum: 1,
      multiQueue: true,
      badName: EINVAL,
      longName: ENAMETOOLONG,
      noDevice: ENOENT,
      // Each frame crosses the loopback once, but is seen leaving and arriving.
      packetLengths: [242, 242],
      refused: [0, 0, 0],
      received: [3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 1400, 1400, 1400, 1400],
    });
  });

  it("are looked up by name", () => {
    expect(native.deviceIndex("lo")).toBeGreaterThan(0);
    for (const name of ["no-such-device", "a-name-longer-than-fifteen"]) {
      expect(native.deviceIndex(name)).toBe(ENODEV);
      expect(native.packetSocket(name)).toBe(ENODEV);
    }
  });

  it("are told from descriptors that are none", () => {
    const [a, b] = native.socketPair("stream");
    expect(native.tapFlags(a)).toBeLessThan(0);
    expect(native.tapName(a)).toBe("");
    expect(native.tapSetOffload(a, 0)).toBeLessThan(0);
    native.close(a);
    native.close(b);
  });
});
