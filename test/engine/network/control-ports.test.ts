/** Ports that the guest is refused: loopback as a whole, other addresses by themselves, and guest forwards that lead there. */
import { describe, expect, it } from "vitest";
import { V4_MAPPED } from "../../../src/engine/boundary.ts";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type GuestForward,
  type OperatorTarget,
} from "../../../src/engine/config.ts";
import { dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { ControlPorts } from "../../../src/engine/network/control-ports.ts";
import { Destinations, GO, refuse } from "../../../src/engine/network/destinations.ts";
import { Destinations6 } from "../../../src/engine/network/destinations6.ts";

const ipv4 = (address: number): number[] => [0, 0, V4_MAPPED, address | 0];
const LOOPBACK = ipv4(0x7f000001);
const LAN = ipv4(0xc0a80105);
const GLOBAL6 = [0x20010db8, 0, 0, 5];
const CONTROL = refuse(dropReason("control-refused"));

const ports = new ControlPorts([
  { address: LOOPBACK, port: 8080 },
  { address: LAN, port: 9090 },
  { address: GLOBAL6, port: 9090 },
]);

it.each([
  [LOOPBACK, 8080, true],
  [ipv4(0x7f000105), 8080, true],
  [[0, 0, 0, 1], 8080, true],
  [LOOPBACK, 8081, false],
  [LAN, 8080, false],
  [LAN, 9090, true],
  [ipv4(0xc0a80106), 9090, false],
  [GLOBAL6, 9090, true],
  [[0x20010db8, 0, 0, 6], 9090, false],
  [[0, 0, 0, 2], 8080, false],
  [[0, 0, 5, 1], 8080, false],
  [[0, 5, 0, 1], 8080, false],
  [[5, 0, 0, 1], 8080, false],
  [ipv4(0x80000001), 8080, false],
  [ipv4(0x7effffff), 8080, false],
] as const)("%j port %i: %s", (address, port, isRefused) => {
  expect(ports.has([...address, port])).toBe(isRefused);
});

it.each([
  [{ kind: "tcp", words: LOOPBACK, port: 8080 }, true],
  [{ kind: "tcp", words: [0, 0, 0, 1], port: 8080 }, true],
  [{ kind: "tcp", words: LOOPBACK, port: 8081 }, false],
  [{ kind: "tcp", words: LAN, port: 8080 }, false],
  [{ kind: "unix", path: "/run/other" }, false],
] as [OperatorTarget, boolean][])("what a rule leads to, %j: %s", (target, isRefused) => {
  expect(ports.isOperators(target)).toBe(isRefused);
});

it.each([
  [{ kind: "tcp", host: 0x7f000001, port: 8080 }, true],
  [{ kind: "tcp", host: 0, host6: [0, 0, 0, 1], port: 8080 }, true],
  [{ kind: "tcp", host: 0x7f000001, port: 8081 }, false],
  [{ kind: "unix", path: "/run/other" }, false],
  [{ kind: "command", command: "cat" }, false],
] as [GuestForward["target"], boolean][])("what a guest forward leads to, %j: %s", (target, isRefused) => {
  expect(ports.isService({ address: 0x0a000264, port: 80, target })).toBe(isRefused);
});

describe("destinations", () => {
  const config = {
    ...defaultEngineConfig(),
    allowHostLoopback: true,
    guestForwards: [
      { address: 0x0a000264, port: 80, target: { kind: "tcp", host: 0x7f000001, port: 8080 } },
      { address: 0x0a000264, port: 81, target: { kind: "tcp", host: 0x7f000001, port: 8081 } },
    ],
  } as const;

  it("of IPv4 are refused behind the gateway, by their own address, and behind a guest forward", () => {
    const destinations = new Destinations(config, null);
    const to = new Int32Array(5);
    const verdict = (remoteAddress: number, remotePort: number): number =>
      destinations.tcp({ guestAddress: config.guestAddress, remoteAddress, remotePort }, to);
    expect([verdict(config.gateway, 8080), verdict(0x0a000264, 80)]).toEqual([GO, 0]);
    destinations.controlPorts = ports;
    expect([verdict(config.gateway, 8080), verdict(0x0a000264, 80)]).toEqual([CONTROL, CONTROL]);
    expect(verdict(0xc0a80105 | 0, 9090)).toBe(CONTROL);
    expect([verdict(config.gateway, 8081), verdict(0x0a000264, 81)]).toEqual([GO, 1]);
  });

  it("of IPv6 likewise", () => {
    const ipv6 = defaultIpv6Config(config.gatewayMac);
    const destinations = new Destinations6(config, ipv6, null);
    const to = new Int32Array(5);
    const verdict = (remote: readonly number[], remotePort: number): number =>
      destinations.tcp({ pair: Int32Array.of(0, 0, 0, 0, ...remote), remotePort }, to);
    expect(verdict(GLOBAL6, 9090)).toBe(GO);
    destinations.controlPorts = ports;
    expect(verdict(ipv6.gateway, 8080)).toBe(CONTROL);
    expect(verdict(GLOBAL6, 9090)).toBe(CONTROL);
    expect(verdict(GLOBAL6, 9091)).toBe(GO);
  });
});
