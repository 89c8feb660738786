/** What QEMU's arguments get so that its memory can be mapped by others. */
import { describe, expect, it } from "vitest";
import { sharedMemoryArguments } from "../../src/config/qemu-memory.ts";

const shared = (size: string): string[] => [
  ...["-object", `memory-backend-memfd,id=sluice-memory,size=${size},share=on`],
  ...["-machine", "memory-backend=sluice-memory"],
];

describe("shared memory", () => {
  it.each([
    ["of QEMU's own size without -m", [], "128M"],
    ["without a word behind -m", ["-m"], "128M"],
    ["of what is no size", ["-m", "slots=2"], "128M"],
    ["of what only looks like one", ["-m", "maxsize=2G"], "128M"],
    ["of megabytes where no unit is said", ["-m", "512"], "512M"],
    ["of the unit that is said", ["-m", "2G"], "2G"],
    ["of a small unit", ["-m", "4096k"], "4096k"],
    ["of a part of a unit", ["-m", "1.5G"], "1.5G"],
    ["of a size by name", ["-m", "size=1G"], "1G"],
    ["of a size with more behind it", ["-m", "1G,slots=2,maxmem=4G"], "1G"],
    ["of a size with more in front of it", ["-m", "slots=2,size=1G,maxmem=4G"], "1G"],
    ["with the option's other form", ["--m", "1G"], "1G"],
    ["of the last -m, as QEMU has it", ["-m", "1G", "-smp", "2", "-m", "2G"], "2G"],
    ["of no word that is not behind -m", ["1G", "-smp", "2"], "128M"],
    ["of no size with a unit of two letters", ["-m", "1GB"], "128M"],
    ["of no size that ends early", ["-m", "1G;"], "128M"],
  ])("is %s", (_what, words, size) => {
    expect(sharedMemoryArguments(["qemu-system-x86_64", ...words])).toEqual(shared(size));
  });

  it("is said by the first word too, where that is -m, and by none before it", () => {
    expect(sharedMemoryArguments(["-m", "1G"])).toEqual(shared("1G"));
    expect(sharedMemoryArguments(["1G"])).toEqual(shared("128M"));
  });

  it.each(["memory-backend=mem0", "q35,memory-backend=mem0", "node,memdev=mem0", "node,memdev="])(
    "is there already with %s",
    (word) => {
      expect(sharedMemoryArguments(["-machine", word])).toEqual([]);
    },
  );

  it("is not there already with what only ends so", () => {
    expect(sharedMemoryArguments(["xmemdev=1", "memdevice=1", "-m", "1G"])).toEqual(shared("1G"));
  });
});
