/** What flows wait for somebody to say, with the buttons that say it. A question keeps its place and the focus while others come and go. */
import { formatTargetEnd } from "../control/end-text.ts";
import type { Question } from "../control/schema.ts";
import { make, setText } from "./elements.ts";
import { formatIdle } from "./format.ts";

export interface QuestionAnswer {
  readonly verdict: "allow" | "deny";
  /** As the API has it: for those that wait, seconds, or until the instance ends. */
  readonly for: "once" | "always" | number;
}

const ANSWERS: readonly (readonly [words: string, answer: QuestionAnswer])[] = [
  ["Allow once", { verdict: "allow", for: "once" }],
  ["Allow for 10 minutes", { verdict: "allow", for: 600 }],
  ["Allow until the end", { verdict: "allow", for: "always" }],
  ["Refuse", { verdict: "deny", for: "once" }],
];

interface Entry {
  readonly item: HTMLLIElement;
  readonly text: HTMLElement;
}

export class QuestionList {
  readonly #entries = new Map<number, Entry>();

  /** `section` is shown while there is something in `list`; `elsewhere` has the focus when what had it is gone. */
  constructor(
    private readonly section: HTMLElement,
    private readonly list: HTMLUListElement,
    private readonly elsewhere: HTMLElement,
    private readonly answer: (question: Question, answer: QuestionAnswer) => void,
  ) {}

  /** Shows those that are open. Returns the ones that are new. */
  show(questions: readonly Question[]): readonly Question[] {
    const open = questions.filter(({ state }) => state === "open");
    const isFocused = this.section.contains(document.activeElement);
    for (const [id, { item }] of this.#entries) {
      if (open.some((question) => question.id === id)) continue;
      item.remove();
      this.#entries.delete(id);
    }
    const fresh = open.filter(({ id }) => !this.#entries.has(id));
    for (const question of open) {
      const entry = this.#entries.get(question.id) ?? this.#add(question);
      const { count, endsInMs, rule } = question;
      const flows = count === 1 ? "1 flow waits" : `${count} flows wait`;
      const left = endsInMs === null ? "" : `, ${formatIdle(endsInMs)} left`;
      setText(entry.text, `${formatTargetEnd(question)}, rule ${rule}: ${flows}${left}`);
    }
    this.section.hidden = open.length === 0;
    if (isFocused && !this.section.contains(document.activeElement)) {
      (this.list.querySelector("button") ?? this.elsewhere).focus();
    }
    return fresh;
  }

  #add(question: Question): Entry {
    const item = make("li");
    const text = make("span", "question");
    item.append(text);
    for (const [words, answer] of ANSWERS) {
      const button = make("button", answer.verdict === "deny" ? "danger" : "", words);
      button.type = "button";
      button.setAttribute("aria-label", `${words}: ${formatTargetEnd(question)}`);
      button.addEventListener("click", () => this.answer(question, answer));
      item.append(button);
    }
    this.list.append(item);
    const entry = { item, text };
    this.#entries.set(question.id, entry);
    return entry;
  }
}
