/** `sluice kubevirt-binding`: the sidecar of KubeVirt's network binding plugin, until its VM ends. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { formatProblem, type Problem } from "../../config/problem.ts";
import { EXIT_FAILED, EXIT_OK, EXIT_WRONG } from "../commands/exit-status.ts";
import { unknownOption, valueProblem } from "../commands/option-problem.ts";
import type { VmIo } from "../commands/vm-io.ts";
import { EngineKeeper, type ServeGuest } from "./engine-keeper.ts";
import { grpcServer } from "./grpc.ts";
import { type HookSocket, openHookSocket } from "./hook-socket.ts";
import { domainHookMethods, hookMethods, SHUTDOWN_PATHS } from "./hooks.ts";
import { type BindingPlace, HOOKS_DIRECTORY, WORK_DIRECTORY } from "./network-binding.ts";

const BINDING_DEFAULT = "sluice";

const BINDING_HELP = `Usage: sluice kubevirt-binding [OPTIONS]

The sidecar of KubeVirt's network binding plugin (docs/kubevirt): serves the hooks of a VM's launcher, and the
VM's guest. KubeVirt's environment says all there is to say; it ends with the VM.

Options:
  --hooks-dir PATH      where the hook socket is made (default ${HOOKS_DIRECTORY})
  --binding-name NAME   what interfaces call the plugin (default $NETWORK_BINDING_PLUGIN_NAME, else ${BINDING_DEFAULT})
  --plugin-socket PATH  serve the hook of KubeVirt's Plugin objects, too, at PATH
  --no-sandbox          do not confine the engine process
  -h, --help            this text

Environment: NETWORK_BINDING_PLUGIN_NAME, CONTAINER_NAME.

Exit status: 0 after the VM's end or SIGTERM, 1 when the guest cannot be served any more, 2 for wrong arguments.
`;

const OPTIONS = {
  "hooks-dir": { type: "string" },
  "binding-name": { type: "string" },
  "plugin-socket": { type: "string" },
  "no-sandbox": { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

interface Arguments extends BindingPlace {
  readonly pluginSocket: string | undefined;
}

/** Runs `sluice kubevirt-binding ARGV`. Returns the exit status. */
export async function bindingCommand(argv: readonly string[], io: VmIo, serve: ServeGuest): Promise<number> {
  const { values, tokens } = parseArgs({ args: [...argv], options: OPTIONS, strict: false, tokens: true });
  if (values.help === true) {
    io.stdout.write(BINDING_HELP);
    return EXIT_OK;
  }
  const seen = new Set<string>();
  const problems = tokens.flatMap((token) => problemOf(token, seen) ?? []);
  for (const problem of problems) io.stderr.write(`sluice kubevirt-binding: ${formatProblem(problem)}\n`);
  if (problems.length > 0) return EXIT_WRONG;
  const text = (name: "hooks-dir" | "binding-name" | "plugin-socket"): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  return serveHooks(
    {
      binding: text("binding-name") ?? (io.env["NETWORK_BINDING_PLUGIN_NAME"] || BINDING_DEFAULT),
      hooksDirectory: text("hooks-dir") ?? HOOKS_DIRECTORY,
      container: io.env["CONTAINER_NAME"] || undefined,
      sandbox: values["no-sandbox"] !== true,
      memory: process.constrainedMemory(),
      pluginSocket: text("plugin-socket"),
    },
    io,
    serve,
  );
}

type Token = NonNullable<ReturnType<typeof parseArgs>["tokens"]>[number];

/** `seen`: the options before this one. */
function problemOf(token: Token, seen: Set<string>): Problem | undefined {
  if (token.kind === "positional") return { place: "arguments", found: token.value, allowed: "options only" };
  if (token.kind !== "option") return undefined;
  const { name, rawName, value = "" } = token;
  if (!Object.hasOwn(OPTIONS, name)) {
    return unknownOption("sluice kubevirt-binding", rawName, Object.keys(OPTIONS));
  }
  const problem = valueProblem(
    token,
    OPTIONS[name as keyof typeof OPTIONS].type === "string",
    seen.has(name),
  );
  seen.add(name);
  if (problem !== undefined) return problem;
  return name === "binding-name" && !/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(value)
    ? { place: rawName, found: value, allowed: "a name of lower-case letters, digits, - and ." }
    : undefined;
}

const END_SIGNALS = ["SIGTERM", "SIGINT"] as const;

async function serveHooks(place: Arguments, io: VmIo, serve: ServeGuest): Promise<number> {
  const say = (message: string): void => void io.stderr.write(`sluice: ${message}\n`);
  let end: (status: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const onSignal = (): void => end(EXIT_OK);
  for (const signal of END_SIGNALS) process.on(signal, onSignal);
  const keeper = new EngineKeeper({
    serve,
    say,
    nowMs: () => performance.now(),
    lost: (message) => {
      say(`error: ${message}; the VM's network is gone, and this sidecar ends`);
      end(EXIT_FAILED);
    },
  });
  const hooks = { place, want: keeper.want.bind(keeper), say };
  const replied = (path: string): void => {
    if (SHUTDOWN_PATHS.includes(path)) end(EXIT_OK);
  };
  const sockets: HookSocket[] = [];
  const open = async (server: ReturnType<typeof grpcServer>, path: string, work: string): Promise<void> => {
    sockets.push(await openHookSocket(server, path, work));
  };
  try {
    const { hooksDirectory, binding, pluginSocket } = place;
    const work = join(hooksDirectory, WORK_DIRECTORY);
    if (pluginSocket !== undefined)
      await open(grpcServer(domainHookMethods(hooks)), pluginSocket, `${pluginSocket}.${WORK_DIRECTORY}`);
    await open(grpcServer(hookMethods(hooks), replied), join(hooksDirectory, `sluice-${binding}.sock`), work);
    say(`serving the hooks of ${binding} at ${sockets.at(-1)?.path ?? ""}`);
    return await ended;
  } catch (error) {
    say(`error: the hook socket: ${(error as Error).message}`);
    return EXIT_FAILED;
  } finally {
    for (const socket of sockets) socket.close();
    await keeper.close();
    for (const signal of END_SIGNALS) process.off(signal, onSignal);
  }
}
