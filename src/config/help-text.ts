/** How the help of commands and options is laid out. */

const WIDTH = 100;

/** Breaks text at blanks so that no line passes WIDTH; lines after the first are indented. */
export function wrap(text: string, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

/** An option and what it does, the latter from column `indent` on. */
export function entry(left: string, help: string, indent: number): string {
  const head = `  ${left}`;
  const gap = head.length + 2 > indent ? `\n${" ".repeat(indent)}` : " ".repeat(indent - head.length);
  return `${head}${gap}${wrap(help, indent)}`;
}
