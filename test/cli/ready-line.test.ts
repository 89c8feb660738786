/** The line that says what is served. */
import { expect, it } from "vitest";
import { describeService } from "../../src/cli/ready-line.ts";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { planEngine } from "../../src/config/plan.ts";

function line(ports: readonly number[], ...given: readonly (readonly [OptionName, string?])[]): string {
  const options = new OptionSet();
  for (const [name, text] of given) options.add(name, text);
  const config = planEngine(options);
  expect(options.problems).toEqual([]);
  return describeService(config, { linkName: "tap tap0", listenPort: 0, forwardPorts: ports });
}

it("N67 tells of both families: networks, ports and where they lead", () => {
  expect(
    line(
      [8080, 8080, 2222, 53],
      ["ipv6", "on"],
      ["publish", "*:0:80"],
      ["hostfwd", "tcp:[::1]:2222-10.0.2.15:22"],
      ["hostfwd", "udp:127.0.0.1:53-[]:53"],
    ),
  ).toBe(
    "ready: tap tap0; guest 10.0.2.15 in 10.0.2.0/24, gateway 10.0.2.2, DNS 10.0.2.3; " +
      "IPv6 in fd71:1ae0:d44d:2::/64, gateway fd71:1ae0:d44d:2::2, DNS fd71:1ae0:d44d:2::3; " +
      "tcp *:8080 -> :80, tcp [::]:8080 -> :80, tcp [::1]:2222 -> 10.0.2.15:22, udp 127.0.0.1:53 -> []:53; " +
      "* is every address of this host over IPv4; [::] is every address of this host over IPv6",
  );
});

it("N67 tells of no IPv6 where the link is too small for it", () => {
  expect(line([], ["ipv6", "auto"], ["mtu", "1000"])).not.toContain("IPv6");
});
