/**
 * What a confined process runs in a test: takes questions as lines of JSON at descriptor 3, answers each with a line.
 * Arguments: the shim, and the addon made of raw-calls.c.
 */
const fs = require("node:fs");
const { Socket, connect } = require("node:net");
const [shimPath, callsPath] = process.argv.slice(2);
const shim = require(shimPath);
const calls = require(callsPath);
const outcome = (run) => {
  try {
    return run() ?? "done";
  } catch (error) {
    return error.code ?? String(error);
  }
};
const outcomeLater = async (run) => {
  try {
    return (await run()) ?? "done";
  } catch (error) {
    return error.code ?? String(error);
  }
};
const questions = {
  fs: ([name, ...args]) => outcome(() => JSON.parse(JSON.stringify(fs[name](...args) ?? null))),
  fsPool: ([name, ...args]) =>
    outcomeLater(async () => JSON.parse(JSON.stringify((await fs.promises[name](...args)) ?? null))),
  call: (args) => calls.call(...args),
  callPool: (args) => calls.callInPool(...args),
  callSelf: ([name, ...args]) => calls.call(name, process.pid, ...args),
  callParent: ([name, ...args]) => calls.call(name, process.ppid, ...args),
  seal: () => shim.applySeccomp(),
  spawn: ([command]) => require("node:child_process").spawnSync(command).error?.code ?? "ran",
  threads: () =>
    fs.readdirSync("/proc/self/task").map((tid) => fs.readFileSync(`/proc/self/task/${tid}/status`, "utf8")),
  descriptors: () =>
    fs.readdirSync("/proc/self/fd").map((fd) => outcome(() => fs.readlinkSync(`/proc/self/fd/${fd}`))),
  ids: () => [process.getuid(), process.getgid(), process.getgroups()],
  env: () => process.env,
  fillPool: () => Promise.all(Array.from({ length: 8 }, () => calls.callInPool("gettid"))),
  worker: () =>
    new Promise((resolve) => {
      const { Worker } = require("node:worker_threads");
      new Worker("0", { eval: true })
        .on("exit", () => resolve("ran"))
        .on("error", (error) => resolve(String(error)));
    }),
  dlopen: ([path]) =>
    outcome(() => {
      process.dlopen({ exports: {} }, path);
    }),
  listen: ([port, host]) =>
    new Promise((resolve) => {
      const server = require("node:net").createServer();
      server.listen(port, host, () => resolve("listening")).on("error", (error) => resolve(error.code));
    }),
  connect: ([path]) =>
    new Promise((resolve) => {
      const socket = connect(path.replace("@", "\0"));
      socket.on("connect", () => resolve("connected")).on("error", (error) => resolve(error.code));
    }),
};
const control = new Socket({ fd: 3 });
let pending = "";
control.setEncoding("utf8").on("data", async (text) => {
  const lines = (pending + text).split("\n");
  pending = lines.pop();
  for (const line of lines) {
    const [name, ...args] = JSON.parse(line);
    control.write(`${JSON.stringify((await questions[name](args)) ?? null)}\n`);
  }
});
control.on("end", () => process.exit(0));
