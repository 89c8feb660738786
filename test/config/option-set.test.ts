/** Options as one user gave them: what is wrong is collected, what is right is kept. */
import { describe, expect, it, vi } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import { OPTIONS, type OptionName } from "../../src/config/option-table.ts";

function given(...options: readonly (readonly [OptionName, string?])[]): OptionSet {
  const set = new OptionSet();
  for (const [name, text] of options) set.add(name, text);
  return set;
}

describe("an option set", () => {
  it("has what was given, in its order among all", () => {
    const set = given(["allow", "a.example"], ["mtu", "1400"], ["allow", "b.example"], ["restrict"]);
    expect(set.problems).toEqual([]);
    expect(set.all("allow")).toEqual([
      { value: "a.example", text: "a.example", order: 0 },
      { value: "b.example", text: "b.example", order: 2 },
    ]);
    expect([set.get("mtu"), set.value("mtu"), set.get("restrict")]).toEqual([1400, 1400, true]);
    expect(set.all("restrict")).toEqual([{ value: true, text: "", order: 3 }]);
    expect([set.has("mtu"), set.has("net"), set.broken("mtu")]).toEqual([true, false, false]);
  });

  it("has defaults for what was not, which are not given", () => {
    const set = given();
    expect([set.get("mtu"), set.value("mtu"), set.all("mtu")]).toEqual([undefined, 1500, []]);
    expect([set.value("log-level"), set.value("log-level", "exec")]).toEqual(["info", "warn"]);
  });

  it("tells what cannot be read, and has it as broken", () => {
    const set = given(["mtu", "9"], ["net", "10.0.2.0/24"]);
    expect(set.problems).toEqual([
      { place: "--mtu", found: "9", allowed: "a whole number from 576 to 65521" },
    ]);
    expect([set.has("mtu"), set.get("mtu"), set.value("mtu")]).toEqual([true, undefined, 1500]);
    expect([set.broken("mtu"), set.broken("net"), set.broken("net", "mtu"), set.broken()]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  it("tells the part that is wrong where it is not the whole", () => {
    expect(given(["publish", "80:x"]).problems).toEqual([
      { place: "--publish", found: "80:x", allowed: 'a port from 1 to 65535 (at "x")' },
    ]);
    expect(given(["net", "x"]).problems[0]?.allowed).not.toContain("(at");
  });

  it("takes an option once, unless it may be repeated", () => {
    expect(given(["mtu", "1400"], ["mtu", "1300"]).problems).toEqual([
      { place: "--mtu", found: "1300", allowed: "once only" },
    ]);
    expect(given(["mtu", "1400"], ["mtu", "1300"]).get("mtu")).toBe(1400);
    expect(given(["restrict"], ["restrict"]).problems).toStrictEqual([
      { place: "--restrict", allowed: "once only" },
    ]);
    // One that could not be read is told for itself alone.
    expect(given(["mtu", "9"], ["mtu", "1300"]).problems).toHaveLength(1);
  });

  it("has an option that stands alone in its command without a value", () => {
    const set = given(["vhost-user"]);
    expect([set.problems, set.all("vhost-user")]).toEqual([[], [{ value: "", text: "", order: 0 }]]);
    expect(given(["vhost-user", "/run/v"]).problems).toEqual([
      { place: "--vhost-user", found: "/run/v", allowed: "unix:PATH" },
    ]);
    // What a flag is given is not looked at.
    expect(given(["restrict", "yes"]).get("restrict")).toBe(true);
  });

  it("complains later about a value that was fine by itself, and shows it", () => {
    const set = given(["publish", "80"], ["publish", "81"], ["restrict"]);
    set.reject("publish", "another", 1);
    set.reject("publish", "another");
    set.reject("publish", "another", 2);
    set.reject("restrict", "nothing");
    set.reject("net", "a network");
    expect(set.problems).toStrictEqual([
      { place: "--publish", found: "81", allowed: "another" },
      { place: "--publish", found: "80", allowed: "another" },
      { place: "--publish", allowed: "another" },
      { place: "--restrict", allowed: "nothing" },
      { place: "--net", allowed: "a network" },
    ]);
  });

  it("calls places as it is told to", () => {
    const set = new OptionSet((name, index) => `${name}[${index}]`);
    for (const text of ["80", "x", "81"]) set.add("publish", text);
    set.add("mtu", "9");
    set.reject("publish", "another", 1);
    expect(set.place("net")).toBe("net[0]");
    expect(set.problems.map(({ place, found }) => [place, found])).toEqual([
      ["publish[1]", "x"],
      ["mtu[0]", "9"],
      ["publish[1]", "81"],
    ]);
  });

  it("never shows a proxy's password", () => {
    const set = given(["via", "socks5://me:secret@127.0.0.1:1"], ["via", "socks5://me:other@127.0.0.1:1"]);
    set.reject("via", "another");
    expect(set.problems.map(({ found }) => found)).toEqual([
      "socks5://me:***@127.0.0.1:1",
      "socks5://me:***@127.0.0.1:1",
    ]);
  });

  it("never tells a mistake of ours as one of the user's", () => {
    const parse = vi.spyOn(OPTIONS.mtu, "parse").mockImplementation(() => {
      throw new TypeError("not a function");
    });
    try {
      expect(() => given(["mtu", "1400"])).toThrow(new TypeError("not a function"));
    } finally {
      parse.mockRestore();
    }
  });
});
