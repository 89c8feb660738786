import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";
import { type GuestCommandRequest, prepareGuestCommand } from "../../../src/host/process/guest-command.ts";
import { commandName, HelperRig } from "../../support/helper-rig.ts";
import { needs } from "../../support/requirements.ts";

let rig: HelperRig;

beforeAll(() => {
  rig = new HelperRig();
});
afterAll(() => rig.close());

const GUEST = { address: "10.0.2.15", prefixLength: 24, gateway: "10.0.2.2" };
/** The rig's device node, for requests. */
const tunDevice = (): { tunDevice?: string } =>
  rig.tunArgs[1] === undefined ? {} : { tunDevice: rig.tunArgs[1] };

describe("prepareGuestCommand", () => {
  const request = (command: string, ...args: string[]): GuestCommandRequest => ({
    command,
    args,
    tap: { name: "tap0", configure: GUEST, ...tunDevice() },
    resolvConf: "nameserver 10.0.2.3\n",
    stdio: ["ignore", "pipe", "inherit"],
  });

  it("holds the command until it is started, then gives it its surroundings and its status", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const guest = await prepareGuestCommand({
      ...request("sh", "-c", "cat /etc/resolv.conf; pwd; echo $GREETING; exit 3"),
      cwd: "/usr",
      env: { ...process.env, GREETING: "hello" },
    });
    expect(guest.tap).toMatchObject({ vnetHeader: true, created: true });
    expect(commandName(guest.child.pid!)).toBe("sluice-helper");
    const ended = once(guest.child, "close");
    let output = "";
    guest.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    await guest.start();
    expect(await ended).toEqual([3, null]);
    expect(output).toBe("nameserver 10.0.2.3\n/usr\nhello\n");
    native.close(guest.tap.fd);
  });

  it("makes the command root inside when asked", async (context) => {
    needs(context, { userNamespaces: true, tun: rig.tunArgs.length === 0 });
    const guest = await prepareGuestCommand({
      ...request("sh", "-c", "id -u; ip link set lo mtu 1000"),
      asRoot: true,
    });
    const ended = once(guest.child, "close");
    await guest.start();
    expect(await ended).toEqual([0, null]);
    native.close(guest.tap.fd);
  });

  it.each([
    ["/no/such/command", "command-not-found", 127, "/no/such/command: there is no such command"],
    ["/etc/passwd", "command-not-run", 126, "/etc/passwd: Permission denied"],
  ])("says why %s does not run", async (command, code, exitStatus, message) => {
    const guest = await prepareGuestCommand(request(command));
    await expect(guest.start()).rejects.toMatchObject({ code, exitStatus, message });
    native.close(guest.tap.fd);
  });
});
