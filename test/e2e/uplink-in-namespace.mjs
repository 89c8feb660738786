/**
 * Run by ipv6-uplink.test.ts in a network namespace of its own, as root: routes come and go, and what the uplink says of
 * each is printed, one JSON array at the end. argv: the built src/host.
 */
import { execFileSync } from "node:child_process";
import { pathToFileURL } from "node:url";

const host = pathToFileURL(`${process.argv[2]}/`);
const { native } = await import(new URL("native/native.js", host));
const { Uplink, waysOut } = await import(new URL("uplink.js", host));

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "inherit", "inherit"] });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const said = [];
const spell = ({ ipv4, ipv6 }) => `${ipv4 ? "4" : "-"}${ipv6 ? "6" : "-"}`;
let handler = () => {};
native.registerArena(new ArrayBuffer(65_536));
native.epollOpen(() => {
  if (native.epollWait(0, 8, 0) > 0) handler();
});
const watcher = {
  watch(fd, events, wanted) {
    native.epollAdd(fd, events, 1);
    handler = wanted;
    return 1;
  },
  unwatch: (fd) => native.epollRemove(fd),
};
const uplink = new Uplink(watcher, { index: 0, hasIpv4: false }, (ways) => said.push(spell(ways)));

async function step(name, ...args) {
  ip(...args);
  await pause(400);
  said.push(name, spell(uplink.ways));
}

said.push("start", spell(uplink.ways));
ip("link", "add", "up0", "type", "veth", "peer", "name", "far0");
ip("link", "set", "far0", "up");
ip("link", "set", "up0", "up");
await step("an address", "addr", "add", "2001:db8::5/64", "dev", "up0", "nodad");
await step("a default route", "-6", "route", "add", "default", "via", "2001:db8::1", "dev", "up0");
const by = (name) => spell(waysOut({ index: native.deviceIndex(name), hasIpv4: false }));
said.push("by device", by("up0"), by("lo"));
await step("another route", "-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::1", "dev", "up0");
await step("no default route", "-6", "route", "del", "default");
await step("unreachable", "-6", "route", "add", "unreachable", "default");
await step("a route to 2000::/3", "-6", "route", "add", "2000::/3", "via", "2001:db8::1", "dev", "up0");
await step("an IPv4 address", "addr", "add", "192.0.2.5/24", "dev", "up0");
await step("an IPv4 default route", "route", "add", "default", "via", "192.0.2.1", "dev", "up0");
await step("device down", "link", "set", "up0", "down");
uplink.close();
native.epollClose();
process.stdout.write(JSON.stringify(said));
