/**
 * Makes dist/lib of dist/src: what `import "sluice"` and `require("sluice")` get. The code is one CommonJS file, which both
 * use, so that a program that does both has one engine and one kind of error; the types are one file without imports, in
 * which each option is a property with its help, from the option table.
 *
 * Usage: node src/build/library.mjs DIRECTORY
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { fingerprints, writeMaterials } from "./bundle.mjs";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const COMPILED = join(ROOT, "dist", "src");

/** Public declarations and the files they stand in, in the order in which a reader wants them. */
const DECLARATIONS = [
  ["index", ["createEngine", "SluiceOptions", "SteeredSluice", "EventOf", "OwnCaptures", "OwnPolicy"]],
  ["host/asked-program", ["Allow", "FlowRequest"]],
  ["supervisor/decider", ["Decide"]],
  ["serve", ["Sluice"]],
  ["host/own-forwards", ["OwnForward", "LiveForwards"]],
  ["engine/api", ["FlowRow", "LeaseRow"]],
  ["engine/policy/denials", ["DenialRow"]],
  ["host/engine-options", ["EngineEnd"]],
  ["engine/boundary", ["Logger"]],
  ["config/problem", ["ConfigError", "Problem"]],
  ["host/start-error", ["StartError", "StartProblem"]],
];
/** What is there at run time. */
const VALUES = ["createEngine", "ConfigError", "StartError"];

/** A declaration at the top of a compiled file, with the comment in front of it. */
function declaration(text, name) {
  const head = new RegExp(`^export (declare )?(function|class|interface|type) ${name}\\b`, "m");
  const at = head.exec(text)?.index;
  if (at === undefined) throw new Error(`no declaration of ${name}`);
  const comment = /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n$/.exec(text.slice(0, at))?.[0] ?? "";
  // To the end of the line that ends it: a brace at the margin, or a semicolon where it has no block.
  const body = /^(?:[^{\n]*\{\n[\s\S]*?^\}|[^\n]*;)$/m.exec(text.slice(at))[0];
  return `${comment}${body}`;
}

const load = (name) => import(pathToFileURL(join(COMPILED, `${name}.js`)).href);

/** Schemas that stand in others under a name, and what the library calls them. */
const NAMED = { PolicyRule: "PolicyRuleResource" };

/** A type that says what a JSON Schema says of forms; of patterns and bounds a type knows nothing. */
function typeOf(schema, indent = "") {
  if (schema.$ref !== undefined) return NAMED[schema.$ref.split("/").at(-1)];
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const forms = schema.oneOf ?? schema.anyOf;
  if (forms !== undefined) return forms.map((each) => typeOf(each, indent)).join(" | ");
  if (schema.type === "array") return `(${typeOf(schema.items, indent)})[]`;
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ type }, indent)).join(" | ");
  if (schema.type !== "object") return schema.type === "integer" ? "number" : schema.type;
  const inner = `${indent}    `;
  const fields = Object.entries(schema.properties).map(([name, value]) => {
    const comment = value.description === undefined ? "" : `${inner}/** ${value.description} */\n`;
    const key = /^[\w$]+$/.test(name) ? name : JSON.stringify(name);
    const isRequired = schema.required?.includes(name);
    return `${comment}${inner}${key}${isRequired ? "" : "?"}: ${typeOf(value, inner)}${isRequired ? "" : " | undefined"};`;
  });
  return `{\n${fields.join("\n")}\n${indent}}`;
}

const ABOUT_POLICIES = `/**
 * A policy, as in a policy file: docs/policy.md says what it stops. Its \`tests\` are run at every start; one that fails
 * refuses the policy with a ConfigError.
 *
 * @example
 * \`\`\`ts
 * import { createEngine, type PolicyDocument } from "sluice";
 *
 * const policy: PolicyDocument = {
 *   version: 1,
 *   rules: [{ name: "packages", allow: ["packages.example.com", "10.20.0.7:5432"] }],
 *   tests: [{ flow: "packages.example.com", expect: "allowed", rule: "packages" }],
 * };
 * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", policy });
 * console.log(engine.denials()); // []
 * await engine.stop();
 * \`\`\`
 */`;

/** Types that the sources make of values. */
async function madeTypes() {
  const { policyJsonSchema } = await load("config/policy/schema");
  const { DROP_REASONS } = await load("engine/metrics/drop-reasons");
  const reasons = DROP_REASONS.map((name) => `    | ${JSON.stringify(name)}`).join("\n");
  return [
    `${ABOUT_POLICIES}\nexport type PolicyDocument = ${typeOf(policyJsonSchema())};`,
    `/** Why something was not carried. */\ntype DropReasonName =\n${reasons};`,
    ...(await apiTypes(DROP_REASONS)),
  ];
}

/** What the control API says of an instance: the library tells the same. */
async function apiTypes(dropReasons) {
  const { z } = await import("zod");
  const schema = await load("control/schema");
  const { eventSchema, captureSchema, captureRequestSchema } = schema;
  const named = dropReasons.map((name) => JSON.stringify(name)).join(" | ");
  const type = (schema, io) => {
    const json = z.toJSONSchema(schema, { io });
    // Of a schema with a name, what stands under it.
    const root = json.$ref === undefined ? json : json.$defs[json.$ref.split("/").at(-1)];
    return typeOf(root).replaceAll(named, "DropReasonName");
  };
  const made = [
    ["State", "An engine as it is now.", "state", "output"],
    [
      "Why",
      "What became of a target: the first line says what happened, the others explain.",
      "why",
      "output",
    ],
    ["Dns", "What was asked of DNS lately, and which names a policy takes to lead where.", "dns", "output"],
    ["PolicyResource", "A policy as it holds.", "policy", "output"],
    ["PolicyRuleResource", "A rule of it.", "policyRule", "output"],
    ["PolicyChangeResource", "What a policy changes.", "policyChange", "output"],
    ["RuleWish", "A rule to be added.", "ruleRequest", "input"],
    ["Question", "What flows wait for somebody to say.", "question", "output"],
    ["AnswerWish", "What somebody says.", "answer", "input"],
    [
      "Decision",
      "What a program says of a question: a word is for those that wait now.",
      "decision",
      "input",
    ],
  ];
  return [
    ...made.map(
      ([name, about, of, io]) => `/** ${about} */\nexport type ${name} = ${type(schema[`${of}Schema`], io)};`,
    ),
    `/** What happened. */\nexport type ControlEvent = ${type(eventSchema, "output")};`,
    `/** The kinds of events there are. */\nexport type EventType = ControlEvent["type"];`,
    `/** A capture as it is now. */\nexport type CaptureResource = ${type(captureSchema, "output")};`,
    `/** What a capture is to hold, and when it ends. */\nexport type CaptureStreamQuery = ${type(captureRequestSchema.omit({ path: true }), "input")};`,
  ];
}

/** The options as properties, each with what the help says of it. */
async function commandOptions() {
  const { OPTION_NAMES, definitionOf } = await load("config/option-table");
  const { isCommandOnly, propertyOf } = await load("config/option-property");
  const { helpOf } = await load("config/option-help");
  const properties = OPTION_NAMES.filter((name) => !isCommandOnly(name)).map((name) => {
    const { placeholder, repeat, oneWithoutList } = definitionOf(name);
    const one = oneWithoutList ? " | string | number" : "";
    const type =
      placeholder === undefined
        ? "boolean"
        : repeat
          ? `readonly (string | number)[]${one}`
          : "string | number";
    return `    /** \`--${name}\`: ${helpOf(name).replaceAll("*/", "*\\/")} */\n    readonly ${propertyOf(name)}?: ${type};`;
  });
  const about =
    "/** The options of `sluice run` as properties: text or numbers, lists for what repeats, booleans for flags. */";
  return `${about}\nexport interface CommandOptions {\n${properties.join("\n")}\n}`;
}

/** The types of the library in one file. */
export async function libraryTypes() {
  const parts = DECLARATIONS.flatMap(([file, names]) => {
    const text = readFileSync(join(COMPILED, `${file}.d.ts`), "utf8");
    return names.map((name) => declaration(text, name));
  });
  const [create, options, ...others] = parts;
  const head = /^\/\*\*[\s\S]*?\*\/\n/.exec(readFileSync(join(COMPILED, "index.d.ts"), "utf8"))[0];
  return `${[head.trimEnd(), create, options, await commandOptions(), ...others, ...(await madeTypes())].join("\n\n")}\n`;
}

async function makeLibrary(directory) {
  const { rolldown } = await import("rolldown");
  mkdirSync(directory, { recursive: true });
  const transform = { define: { SLUICE_FINGERPRINTS: JSON.stringify(fingerprints()) } };
  const input = join(COMPILED, "index.js");
  const build = await rolldown({ cwd: ROOT, input, platform: "node", logLevel: "silent", transform });
  const { output } = await build.write({
    dir: directory,
    format: "cjs",
    entryFileNames: "index.cjs",
    codeSplitting: false,
    comments: false,
  });
  await build.close();
  writeMaterials(directory, output);
  writeFileSync(
    join(directory, "index.js"),
    `import library from "./index.cjs";\nexport const { ${VALUES.join(", ")} } = library;\n`,
  );
  const types = await libraryTypes();
  for (const name of ["index.d.ts", "index.d.cts"]) writeFileSync(join(directory, name), types);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await makeLibrary(resolve(process.argv[2]));
