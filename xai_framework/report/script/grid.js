// The grid: only rows in sight exist. All rows are equally high, so that their places are known.

/** @type {Entry[]} */
let order = [];
/** Rows that exist, by their place in the order. @type {Map<number, Row>} */
const shown = new Map();
/** Where the keyboard is: place in the order, and column (0: the photograph). */
const cursor = { at: 0, column: 0 };

let onPaper = false;

const grid = find("grid");
const body = find("rows");

/** Pixels a row; as the stylesheet has it. */
const height = () => state.size + 30 + 18 + (state.threshold && find("truth") ? 16 : 0) + 16;
const width = () => (columns().length + 1 + (state.difference === "method" ? 1 : 0)) * (state.size + 12);

/** Order anew and draw. */
function arrange() {
  order = entries();
  for (const row of shown.values()) dropRow(row);
  shown.clear();
  body.style.height = `${order.length * height()}px`;
  body.style.width = find("names").style.width = `${width()}px`;
  grid.style.setProperty("--row", `${height()}px`);
  grid.setAttribute("aria-rowcount", String(order.length + 1));
  grid.setAttribute("aria-colcount", String(columns().length + 1));
  grid.hidden = order.length === 0;
  find("none").hidden = order.length > 0 || head.rows.length === 0;
  const rows = head.rows.length;
  const count = order.filter((entry) => entry.minus === undefined).length;
  const noun = (/** @type {number} */ n) => `${n.toLocaleString("en")} ${n === 1 ? "row" : "rows"}`;
  find("shown").textContent = count === rows ? noun(rows) : `${count.toLocaleString("en")} of ${noun(rows)}`;
  makeNames();
  drawGrid();
}

/** Make rows that came into sight, drop those that left it. On paper all are in sight. */
function drawGrid() {
  if (onPaper) return;
  const each = height();
  const first = Math.max(0, Math.floor(grid.scrollTop / each) - 1);
  const last = Math.min(order.length - 1, Math.ceil((grid.scrollTop + grid.clientHeight) / each) + 1);
  for (const [at, row] of shown) {
    if ((at < first || at > last) && !row.element.contains(document.activeElement)) {
      dropRow(row);
      shown.delete(at);
    }
  }
  for (let at = first; at <= last; at += 1) placeRow(at);
  markCursor();
}

/** Make the row at this place of the order, where it is not there yet. @param {number} at */
function placeRow(at) {
  if (shown.has(at)) return;
  const row = makeRow(order[at]);
  row.element.style.top = `${at * height()}px`;
  row.element.setAttribute("aria-rowindex", String(at + 2));
  row.element.dataset.at = at;
  shown.set(at, row);
  const next = [...body.children].find((other) => Number(/** @type {any} */ (other).dataset.at) > at);
  body.insertBefore(row.element, next ?? null);
}

/** All rows, or as many as make sense. @param {boolean} whether */
function printing(whether) {
  if (state.view !== "images") return;
  onPaper = whether;
  if (!whether) { arrange(); return; }
  for (let at = 0; at < Math.min(order.length, 200); at += 1) placeRow(at);
}

function makeNames() {
  const names = find("names");
  const heading = (/** @type {Method} */ method, /** @type {number} */ index) => {
    const range = state.scale === "method" ? number(method.top) : state.scale === "saturated" ? "99 %" : "max";
    const ramp = make("span", { className: "ramp" }, make("span", {}, method.signed ? `−${range}` : "0"),
      make("span", { className: method.signed ? "strip signed" : "strip" }), make("span", {}, range));
    const title = [method.label, method.parameters, method.doc].filter(Boolean).join("\n");
    const about = method.parameters || method.doc;
    const element = make("div", { className: "head", role: "columnheader", title, draggable: true },
      make("span", { className: "method" }, make("bdi", {}, method.label)),
      make("span", { className: "parameters" }, make("bdi", {}, about)), method.top ? ramp : "");
    element.dataset.column = index;
    return element;
  };
  const first = make("div", { className: "head first", role: "columnheader" }, "Photograph");
  const contrast = state.difference === "method"
    ? [make("div", { className: "head", role: "columnheader" }, make("span", { className: "method" }, make("bdi", {}, contrastName())),
      make("span", { className: "ramp" }, make("span", {}, "−max"), make("span", { className: "strip signed" }), make("span", {}, "max")))] : [];
  names.replaceChildren(first, ...contrast, ...columns().map((method) => heading(head.methods[method], method)));
}

/** Move a method to the place of another. @param {number} method @param {number} before */
function moveColumn(method, before) {
  const rest = columns().filter((other) => other !== method);
  const at = columns().indexOf(before);
  rest.splice(at, 0, method);
  change({ columns: rest.join(".") });
}

/** @param {Row} row @returns {any[]} */
const cellsOf = (row) => all(".cell", row.element);

/** @param {number} at @param {number} column @param {boolean} [focus] */
function moveCursor(at, column, focus = true) {
  if (!order.length) return;
  cursor.at = Math.max(0, Math.min(order.length - 1, at));
  cursor.column = Math.max(0, Math.min(columns().length + (state.difference === "method" ? 1 : 0), column));
  const top = cursor.at * height();
  const free = grid.clientHeight - find("names").offsetHeight;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + height() > grid.scrollTop + free) grid.scrollTop = top + height() - free;
  const left = cursor.column * (state.size + 12);
  const room = grid.clientWidth - state.size - 12;
  if (cursor.column && left - state.size - 12 < grid.scrollLeft) grid.scrollLeft = left - state.size - 12;
  else if (left > grid.scrollLeft + room) grid.scrollLeft = left - room;
  drawGrid();
  const row = shown.get(cursor.at);
  if (focus && row) cellsOf(row)[cursor.column]?.focus({ preventScroll: true });
}

/** One picture at most can be reached by the tabulator: the one with the cursor. */
function markCursor() {
  for (const element of all(".cell[tabindex='0']", body)) element.tabIndex = -1;
  const row = shown.get(cursor.at) ?? shown.get([...shown.keys()].sort((a, b) => a - b)[0]);
  const cell = row && cellsOf(row)[cursor.column];
  if (cell) cell.tabIndex = 0;
}
