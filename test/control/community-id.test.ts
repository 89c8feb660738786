/** Community ID against the specification's own examples. Against Wireshark: test/e2e/flow-log.test.ts. */
import { describe, expect, it } from "vitest";
import { communityId } from "../../src/control/flow-log/community-id.ts";

const EXAMPLES = [
  ["tcp", "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="],
  ["udp", "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="],
  [
    "tcp",
    "2001:470:e5bf:dead:4957:2174:e82c:4887",
    63943,
    "2607:f8b0:400c:c03::1a",
    25,
    "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
  ],
] as const;

describe("Community ID", () => {
  it.each(EXAMPLES)("of %s %s:%i and %s:%i", (protocol, from, fromPort, to, toPort, id) => {
    const [one, other] = [
      { address: from, port: fromPort },
      { address: to, port: toPort },
    ];
    expect(communityId(protocol, one, other)).toBe(id);
    expect(communityId(protocol, other, one)).toBe(id);
  });

  it("tells ports of one address apart", () => {
    const at = (port: number) => ({ address: "127.0.0.1", port });
    expect(communityId("tcp", at(1), at(2))).toBe(communityId("tcp", at(2), at(1)));
    expect(communityId("tcp", at(1), at(2))).not.toBe(communityId("tcp", at(1), at(3)));
    expect(communityId("tcp", at(1), at(2))).not.toBe(communityId("udp", at(1), at(2)));
  });
});
