/** The grammars of what a link is: endpoints, devices, namespaces, descriptors; and users and paths. */
import { describe, expect, it } from "vitest";
import {
  parseDatagramAddresses,
  parseDescriptor,
  parseDeviceName,
  parseNamespace,
  parsePath,
  parseStreamAddress,
  parseUnixAddress,
  parseUser,
} from "../../src/config/link-grammar.ts";
import { refusal } from "../support/refusal.ts";

const HOST_PORT = "HOST:PORT, HOST an IPv4 address, [IPv6] or localhost";

describe("a stream's address", () => {
  it.each([
    ["unix:/run/q.sock", { kind: "unix", path: "/run/q.sock" }],
    ["unix:q", { kind: "unix", path: "q" }],
    ["tcp:192.0.2.1:99", { kind: "tcp", host: "192.0.2.1", port: 99 }],
    ["tcp:localhost:1", { kind: "tcp", host: "127.0.0.1", port: 1 }],
    ["tcp:[2001:db8::1]:65535", { kind: "tcp", host: "2001:db8::1", port: 65535 }],
  ])("%s", (text, address) => {
    expect(parseStreamAddress(text)).toEqual(address);
  });

  it.each([
    ["", "unix:PATH or tcp:HOST:PORT", ""],
    ["/run/q", "unix:PATH or tcp:HOST:PORT", "/run/q"],
    ["xunix:/run/q", "unix:PATH or tcp:HOST:PORT", "xunix:/run/q"],
    ["xtcp:127.0.0.1:9", "unix:PATH or tcp:HOST:PORT", "xtcp:127.0.0.1:9"],
    ["unix:", "a socket path of 1 to 107 octets", ""],
    ["tcp:127.0.0.1", HOST_PORT, "127.0.0.1"],
    ["tcp:127.0.0.1:", HOST_PORT, "127.0.0.1:"],
    ["tcp:127.0.0.1:9x", HOST_PORT, "127.0.0.1:9x"],
    ["tcp:x127.0.0.1:9", HOST_PORT, "x127.0.0.1:9"],
    ["tcp:host.example:9", HOST_PORT, "host.example:9"],
    ["tcp:::1:9", HOST_PORT, "::1:9"],
    ["tcp:[]:9", HOST_PORT, "[]:9"],
    ["tcp:[fe80::1%lo]:9", HOST_PORT, "[fe80::1%lo]:9"],
    ["tcp:[::1/64]:9", "an IPv6 address in brackets", "[::1/64]:9"],
    ["tcp:[127.0.0.1]:9", "an IPv6 address in brackets", "[127.0.0.1]:9"],
    ["tcp:127.1:9", "an IPv4 address such as 10.0.2.2", "127.1"],
    ["tcp:127.0.0.1:0", "a port from 1 to 65535", "0"],
    ["tcp:127.0.0.1:65536", "a port from 1 to 65535", "65536"],
  ])("is not %j", (text, allowed, found) => {
    expect(refusal(() => parseStreamAddress(text))).toEqual([allowed, found]);
  });
});

describe("a socket that descriptors travel over", () => {
  it("is a Unix one", () => {
    expect(parseUnixAddress("unix:/run/v")).toBe("/run/v");
    for (const text of ["/run/v", "tcp:127.0.0.1:9", "xunix:/run/v"])
      expect(refusal(() => parseUnixAddress(text))).toEqual(["unix:PATH", text]);
    expect(refusal(() => parseUnixAddress("unix:"))).toEqual(["a socket path of 1 to 107 octets", ""]);
  });

  it("has a path that fits into its address, and no NUL", () => {
    const path = `/${"x".repeat(106)}`;
    expect(parseUnixAddress(`unix:${path}`)).toBe(path);
    for (const long of [`${path}x`, `/${"é".repeat(54)}`, "a\0b"])
      expect(refusal(() => parseUnixAddress(`unix:${long}`))).toEqual([
        "a socket path of 1 to 107 octets",
        long,
      ]);
  });
});

describe("the ends of a datagram link", () => {
  const ALLOWED =
    "LOCAL,REMOTE, both unix:PATH or both udp:HOST:PORT, such as unix:/run/a.sock,unix:/run/b.sock";

  it.each([
    ["unix:/run/a,unix:/run/b", { kind: "unix", local: "/run/a", remote: "/run/b" }],
    ["unix:/run/a,b,unix:/run/c,unix:d", { kind: "unix", local: "/run/a,b", remote: "/run/c,unix:d" }],
    ["unix:/run/a\n,unix:/run/b\n", { kind: "unix", local: "/run/a\n", remote: "/run/b\n" }],
    [
      "udp:127.0.0.1:1,udp:[::1]:2",
      { kind: "udp", local: { host: "127.0.0.1", port: 1 }, remote: { host: "::1", port: 2 } },
    ],
  ])("%j", (text, addresses) => {
    expect(parseDatagramAddresses(text)).toEqual(addresses);
  });

  it.each([
    ["", ALLOWED],
    ["unix:/run/a", ALLOWED],
    ["unix:/run/a,udp:127.0.0.1:1", ALLOWED],
    ["xunix:/run/a,unix:/run/b", ALLOWED],
    ["tcp:127.0.0.1:1,tcp:127.0.0.1:2", ALLOWED],
    ["unix:,unix:/run/b", "a socket path of 1 to 107 octets"],
    ["unix:/run/a,unix:", "a socket path of 1 to 107 octets"],
    ["udp:127.0.0.1:1,udp:", HOST_PORT],
    ["udp:,udp:127.0.0.1:1", HOST_PORT],
  ])("are not %j", (text, allowed) => {
    expect(refusal(() => parseDatagramAddresses(text))[0]).toBe(allowed);
  });
});

describe("a device's name", () => {
  it.each(["eth0", "a", "tap0.100", "...", ".a", "x".repeat(15), "ééééééé", "a-b_c@d"])(
    "is one that Linux takes: %s",
    (name) => {
      expect(parseDeviceName(name)).toBe(name);
    },
  );

  it.each([
    "",
    ".",
    "..",
    "a b",
    " a",
    "a ",
    "a/b",
    "/a",
    "a:b",
    "a:",
    "tap%d",
    "a\tb",
    "a\0b",
    "x".repeat(16),
    "éééééééé",
  ])("is not %j", (name) => {
    expect(refusal(() => parseDeviceName(name))).toEqual([
      "a device name of 1 to 15 octets without / : % or blanks",
      name,
    ]);
  });
});

describe("a namespace", () => {
  it("is a path, or a process of the numbers that Linux gives", () => {
    expect(parseNamespace("1")).toEqual({ pid: 1 });
    expect(parseNamespace("4194304")).toEqual({ pid: 4_194_304 });
    for (const path of ["/run/netns/a", "1a", "a1", "-1"]) expect(parseNamespace(path)).toEqual({ path });
    for (const pid of ["0", "4194305"])
      expect(refusal(() => parseNamespace(pid))).toEqual(["a PID from 1 to 4194304", pid]);
    expect(refusal(() => parseNamespace(""))).toEqual(["a path", ""]);
  });
});

it("a path is not empty and has no NUL", () => {
  expect(parsePath(" ")).toBe(" ");
  for (const text of ["", "a\0", "\0"]) expect(refusal(() => parsePath(text))).toEqual(["a path", text]);
});

it("a descriptor is none of the terminal's, and one that a process can have", () => {
  expect([parseDescriptor("3"), parseDescriptor("1048575")]).toEqual([3, 1_048_575]);
  for (const text of ["2", "1048576", "-3", "3x", ""])
    expect(refusal(() => parseDescriptor(text))).toEqual(["a descriptor number from 3 to 1048575", text]);
});

describe("a user", () => {
  it.each([
    "nobody",
    "_x",
    "A1",
    "a.b-c_d",
    `a${"b".repeat(31)}`,
    "guest$",
    "0",
    "4294967295",
    "1000:1000",
    "1:4294967295",
  ])("is %s", (text) => {
    expect(parseUser(text)).toBe(text);
  });

  it.each([
    "",
    "-x",
    ".x",
    "$",
    "a$$",
    "a$b",
    "a b",
    " a",
    "a\nb",
    `a${"b".repeat(32)}`,
    "10000000000",
    "1:10000000000",
    "1:",
    ":1",
    "1:a",
    "a:1",
    "1:2:3",
    "x1:1",
  ])("is not %j", (text) => {
    expect(refusal(() => parseUser(text))).toEqual(["a user name or UID[:GID]", text]);
  });
});
