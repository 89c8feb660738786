/** Elements of the page. Text is only ever set as text: nothing that a guest chose becomes markup. */

/** The element with this id, of this kind; the page's file has it. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${id}`);
  return element;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className = "",
  text = "",
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** Sets text where it is another: what has not changed is not laid out again, and not read out again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Gives a table's body these rows of text; columns from `numbersFrom` on are numbers. */
export function setRows(body: HTMLElement, rows: readonly (readonly string[])[], numbersFrom: number): void {
  while (body.children.length > rows.length) body.lastElementChild?.remove();
  rows.forEach((cells, i) => {
    let row = body.children[i];
    if (row === undefined) {
      row = make("tr");
      cells.forEach((_, column) => {
        row?.append(make("td", column >= numbersFrom ? "number" : ""));
      });
      body.append(row);
    }
    cells.forEach((text, column) => {
      const cell = row?.children[column];
      if (cell !== undefined) setText(cell, text);
    });
  });
}
