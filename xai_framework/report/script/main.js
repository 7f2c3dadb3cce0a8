// Controls, keys and pointer; everything they do goes through the state.

const root = document.documentElement;

/** Controls that are parts of the state, by their element. @type {[string, keyof State][]} */
const CONTROLS = [
  ["opacity", "opacity"], ["size", "size"], ["threshold", "threshold"], ["scale", "scale"], ["colours", "colours"],
  ["grey", "grey"], ["truth", "truth"], ["metric", "metric"], ["sort", "sort"], ["sort-method", "of"],
  ["difference", "difference"], ["first", "first"], ["second", "second"], ["find", "find"], ["filter-class", "class"],
  ["filter-correct", "correct"], ["filter-low", "low"], ["filter-high", "high"], ["filter-state", "state"],
  ["filter-from", "from"], ["filter-to", "to"], ["board-place", "board"],
];
const FILTERS = ["class", "correct", "low", "high", "state", "from", "to"];
/** Changes that need no row to be made anew. */
const LIGHT = new Set(["opacity", "colours", "grey", "board", "image", "basket", "view", "truth", "scale", "level"]);

/** @param {Partial<State>} what */
function change(what) {
  let changed = Object.keys(what).filter((key) => /** @type {any} */ (state)[key] !== /** @type {any} */ (what)[key]);
  // another threshold changes what is drawn; having one changes how high rows are
  if (state.threshold && what.threshold) changed = changed.map((key) => (key === "threshold" ? "level" : key));
  Object.assign(state, what);
  writeAddress();
  apply(changed);
}

/** Draw what depends on these parts of the state. @param {string[]} changed */
function apply(changed) {
  const any = (/** @type {string[]} */ ...keys) => keys.some((key) => changed.includes(key));
  root.style.setProperty("--opacity", String(state.opacity / 100));
  root.style.setProperty("--size", `${state.size}px`);
  root.style.setProperty("--sequential", `url(#${state.colours})`);
  root.classList.toggle("grey", state.grey);
  find("opacity-value").textContent = `${state.opacity} %`;
  find("threshold-value").textContent = state.threshold ? `${state.threshold} %` : "off";
  if (any("difference")) fillPair();
  if (any("columns")) fillColumns();
  if (any("view")) showView();
  showControls();
  const needed = state.metric !== "" ? Number(state.metric) : state.sort === "value" ? 0 : -1;
  if (needed >= 0 && !numbers.has(needed)) {
    load(needed).then(() => apply(["find"]));
    return;
  }
  const visible = state.view === "images";
  if (visible && changed.some((key) => !LIGHT.has(key))) keepPlace(arrange, any("size", "threshold"));
  else if (any("truth", "scale", "level")) { makeNames(); refresh(); }
  if (any("image", "columns", "difference", "first", "second", "threshold", "metric")) drawDetail();
  if (any("basket")) drawBasket();
  if (any("board", "view")) drawBoard();
}

/** The row on top stays on top when heights change. @param {() => void} act @param {boolean} keep */
function keepPlace(act, keep) {
  const at = grid.scrollTop / (grid.before || height());
  act();
  if (keep) grid.scrollTop = at * height();
  grid.before = height();
  drawGrid();
}

function showView() {
  for (const tab of all("[role=tab]")) {
    const mine = tab.dataset.view === state.view;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    find(tab.dataset.view).hidden = !mine;
  }
  if (state.view === "images") arrange();
}

/** Controls say what the state is. */
function showControls() {
  for (const [id, key] of CONTROLS) {
    const control = find(id);
    if (!control) continue;
    if (control.type === "checkbox") control.checked = state[key];
    else if (control.value !== String(state[key])) control.value = String(state[key]);
  }
  for (const select of all("[data-place]")) select.value = state[/** @type {keyof Place} */ (select.dataset.place)];
  const byValue = state.sort === "value";
  find("sort-method-label").hidden = !byValue;
  find("direction").hidden = !state.sort;
  find("pair").hidden = !state.difference;
  const active = FILTERS.filter((key) => /** @type {any} */ (state)[key] !== "").length;
  find("filter-count").hidden = !active;
  find("filter-count").textContent = String(active);
  if (find("filter-metric-name")) {
    find("filter-metric-name").textContent = state.metric === "" ? "Metric (choose one under Show)" : head.metrics[Number(state.metric)].label;
    find("filter-from").disabled = find("filter-to").disabled = state.metric === "";
  }
}

/** @param {any} select @param {string[]} names */
function fillSelect(select, names, values = names) {
  select.append(...names.map((text, i) => make("option", { value: values[i] }, text)));
}

function fillPair() {
  const names = state.difference === "method" ? head.methods.map((m) => m.label)
    : state.difference ? valuesOf(/** @type {keyof Place} */ (state.difference)) : [];
  for (const id of ["first", "second"]) {
    find(id).replaceChildren();
    fillSelect(find(id), names, names.map((_, i) => String(i)));
  }
  if (!state.difference || !(state.first in names)) state.first = 0;
  if (!state.difference || !(state.second in names)) state.second = 1;
}

/** The list of methods: shown or hidden, and their order. */
function fillColumns() {
  const active = document.activeElement?.getAttribute("data-key");
  const visible = columns();
  const rest = head.methods.map((_, i) => i).filter((i) => !visible.includes(i));
  const lines = [...visible, ...rest].map((method) => {
    const box = make("input", { type: "checkbox", checked: visible.includes(method) });
    box.addEventListener("change", () => change({ columns: (box.checked ? [...visible, method] : visible.filter((other) => other !== method)).join(".") }));
    box.setAttribute("data-key", `box${method}`);
    const at = visible.indexOf(method);
    const mover = (/** @type {string} */ sign, /** @type {number} */ by, /** @type {string} */ word) => {
      const to = visible[at + by];
      const button = make("button", { type: "button", disabled: at < 0 || to === undefined }, sign);
      button.setAttribute("aria-label", `Move ${head.methods[method].label} ${word}`);
      button.setAttribute("data-key", `${word}${method}`);
      button.addEventListener("click", () => moveColumn(method, to));
      return button;
    };
    return make("div", { className: "choice" }, make("label", {}, box, " ", make("bdi", {}, head.methods[method].label)), mover("↑", -1, "forward"), mover("↓", 1, "back"));
  });
  find("columns").replaceChildren(...lines);
  if (active) all(`[data-key="${active}"]`, find("columns"))[0]?.focus();
}

function resetFilters() {
  change({ find: "", class: "", correct: "", low: "", high: "", state: "", from: "", to: "", run: "", backbone: "", target: "", dataset: "" });
}

for (const [id, key] of CONTROLS) {
  const control = find(id);
  if (!control) continue;
  control.addEventListener(control.tagName === "SELECT" || control.type === "checkbox" ? "change" : "input", () => {
    const value = control.type === "checkbox" ? control.checked : typeof START[key] === "number" ? Number(control.value) : control.value;
    const more = key === "sort" && value === "value" && state.metric === "" ? { metric: "0" } : key === "difference" ? { first: 0, second: 1 } : {};
    change({ [key]: value, ...more });
  });
}
for (const select of all("[data-place]")) {
  fillSelect(select, valuesOf(select.dataset.place));
  select.addEventListener("change", () => change({ [select.dataset.place]: select.value }));
}
fillSelect(find("classes"), [...new Set(head.images.map((image) => image.label).filter(Boolean))].sort());
find("fold").addEventListener("click", () => {
  find("fold").setAttribute("aria-expanded", String(find("bar").classList.toggle("open")));
});
find("bar").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
find("direction").addEventListener("click", () => change({ turned: !state.turned }));
find("reset").addEventListener("click", resetFilters);
find("reset-none").addEventListener("click", resetFilters);
grid.addEventListener("scroll", () => requestAnimationFrame(drawGrid), { passive: true });
new ResizeObserver(() => { if (state.view === "images") drawGrid(); }).observe(grid);
window.addEventListener("hashchange", () => { readAddress(); apply(Object.keys(START)); });

for (const tab of all("[role=tab]")) {
  tab.addEventListener("click", () => change({ view: tab.dataset.view }));
  tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const tabs = all("[role=tab]");
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!by) return;
    const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length];
    change({ view: next.dataset.view });
    next.focus();
    event.stopPropagation();
  });
}

// A click outside closes an open menu.
document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  for (const menu of all("details.menu[open]")) if (!menu.contains(target) && target.isConnected) menu.open = false;
  const open = target.closest("[data-open]");
  if (open) openDetail(Number(/** @type {any} */ (open).dataset.open));
  const listed = target.closest("[data-row]");
  if (listed) change({ view: "images", image: head.rows[Number(/** @type {any} */ (listed).dataset.row)].image });
  const copy = target.closest(".copy");
  if (copy) copyText(copy);
});
document.addEventListener("change", (event) => {
  const box = /** @type {any} */ (event.target);
  if (box.dataset?.pick !== undefined) toggleBasket(Number(box.dataset.pick));
});

/** @param {any} button */
async function copyText(button) {
  const source = find(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    // no clipboard for this page: the text is selected, ready for the reader's own copy
    window.getSelection()?.selectAllChildren(source);
    button.textContent = "Selected";
  }
}

// Names of columns can be dragged; the list of methods does the same by keyboard.
let dragged = -1;
find("names").addEventListener("dragstart", (/** @type {any} */ event) => { dragged = Number(event.target.closest(".head").dataset.column); });
find("names").addEventListener("dragover", (/** @type {any} */ event) => { if (dragged >= 0) event.preventDefault(); });
find("names").addEventListener("drop", (/** @type {any} */ event) => {
  event.preventDefault();
  const before = event.target.closest("[data-column]");
  if (before && dragged >= 0) moveColumn(dragged, Number(before.dataset.column));
  dragged = -1;
});

/** @param {any} node @returns {Row | null} */
const rowOf = (node) => node.closest?.(".row")?.row ?? null;

// Value under the cursor, in all maps of the row.
document.addEventListener("pointermove", (event) => {
  const pic = /** @type {any} */ (event.target).closest?.(".pic");
  const row = pic && rowOf(pic);
  if (pointed && pointed !== row) clearPoint();
  if (!row?.data || root.classList.contains("peek")) return;
  const frame = pic.querySelector(".zoom").getBoundingClientRect();
  const [u, v] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  if (u >= 0 && v >= 0 && u < 1 && v < 1) pointAt(row, u, v);
});
/** @type {Row | null} */
let pointed = null;

/** @param {Row} row @param {number} u @param {number} v shares of the picture's width and height */
function pointAt(row, u, v) {
  pointed = row;
  const [w, h] = row.data?.full ?? [1, 1];
  row.element.classList.add("pointed");
  row.element.style.setProperty("--u", String(u));
  row.element.style.setProperty("--v", String(v));
  row.photo.line.textContent = `x ${Math.floor(u * w)}, y ${Math.floor(v * h)}`;
  for (const cell of row.cells.values()) {
    const grid_ = cell.heat && gridOf(cell.heat);
    if (!grid_ || !cell.data) continue;
    const share = grid_.values[Math.floor(v * grid_.height) * grid_.width + Math.floor(u * grid_.width)];
    cell.line.textContent = `≈ ${number(share * topOf(cell.data))}`;
  }
}

function clearPoint() {
  const row = pointed;
  pointed = null;
  if (!row) return;
  row.element.classList.remove("pointed");
  row.photo.line.textContent = "";
  for (const cell of row.cells.values()) if (row.entry.minus === undefined) cell.line.textContent = lineOf(row, cell);
}
document.addEventListener("pointerleave", clearPoint);

// Zoom: all pictures of a row together.
/** @param {Row} row */
function showShift(row) {
  const { k, x, y } = row.shift;
  row.element.style.setProperty("--zoom", String(k));
  row.element.style.setProperty("--x", String(x));
  row.element.style.setProperty("--y", String(y));
  row.element.classList.toggle("zoomed", k > 1);
}

/** @param {Row} row @param {number} factor @param {number} u @param {number} v where, as shares of the frame */
function zoomRow(row, factor, u, v) {
  const { k, x, y } = row.shift;
  const next = Math.max(1, Math.min(16, k * factor));
  // what lies under the pointer stays there
  const hold = (/** @type {number} */ at, /** @type {number} */ old) => Math.min(0, Math.max(1 - next, at - ((at - old) / k) * next));
  row.shift = { k: next, x: hold(u, x), y: hold(v, y) };
  showShift(row);
}

document.addEventListener("wheel", (event) => {
  const pic = /** @type {any} */ (event.target).closest?.(".pic");
  const row = pic && rowOf(pic);
  if (!row || !(event.ctrlKey || event.metaKey || pic.closest("dialog"))) return;
  event.preventDefault();
  const box = pic.getBoundingClientRect();
  zoomRow(row, Math.exp(-event.deltaY / 200), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
}, { passive: false });
document.addEventListener("dblclick", (event) => {
  const row = rowOf(event.target);
  if (!row || !(/** @type {any} */ (event.target).closest(".pic"))) return;
  row.shift = { k: 1, x: 0, y: 0 };
  showShift(row);
});

/** @type {{row: Row, x: number, y: number, box: DOMRect} | null} */
let pan = null;
const peek = (/** @type {boolean} */ on) => root.classList.toggle("peek", on);
document.addEventListener("pointerdown", (event) => {
  const pic = /** @type {any} */ (event.target).closest?.(".pic");
  if (event.button !== 0 || !pic) return;
  const row = rowOf(pic);
  if (row && row.shift.k > 1) pan = { row, x: event.clientX, y: event.clientY, box: pic.getBoundingClientRect() };
  else peek(true);
});
document.addEventListener("pointermove", (event) => {
  if (!pan) return;
  const { row, box } = pan;
  const keep = (/** @type {number} */ value) => Math.min(0, Math.max(1 - row.shift.k, value));
  row.shift.x = keep(row.shift.x + (event.clientX - pan.x) / box.width);
  row.shift.y = keep(row.shift.y + (event.clientY - pan.y) / box.height);
  pan.x = event.clientX;
  pan.y = event.clientY;
  showShift(row);
});
for (const end of ["pointerup", "pointercancel", "blur"]) window.addEventListener(end, () => { peek(false); pan = null; });

/** Photograph alone while Space is held; with two methods compared, one after the other. @param {KeyboardEvent} event */
function spaceKey(event) {
  event.preventDefault();
  if (state.difference !== "method") return peek(true);
  if (!event.repeat) {
    flicker = (flicker + 1) % 3;
    for (const row of live) showFlicker(row);
  }
  return undefined;
}
let flicker = 0;

/** The difference, the first, or the second map. @param {Row} row */
function showFlicker(row) {
  const { contrast, data } = row;
  if (!contrast || !data) return;
  all("img.heat", contrast.zoom).forEach((old) => old.remove());
  const method = flicker === 1 ? state.first : state.second;
  const difference = contrast.zoom.querySelector("canvas.heat");
  if (difference) difference.hidden = flicker > 0;
  contrast.note.textContent = flicker ? head.methods[method].label : "";
  const map = data.cells[method]?.map;
  if (flicker && map) {
    contrast.zoom.append(make("img", { className: head.methods[method].signed ? "heat signed" : "heat", src: map, alt: head.methods[method].label }));
  }
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {any} */ (event.target);
  if (event.altKey || (event.ctrlKey && event.key !== "Home" && event.key !== "End") || event.metaKey) return;
  const typing = target.closest("input, select, textarea");
  if (typing || (target.closest("button, summary, a") && (event.key === " " || event.key === "Enter"))) return;
  if (find("help").open) return;
  if (event.key === "?") return find("help").showModal();
  if (event.key === " ") return spaceKey(event);
  if (state.image >= 0) {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") step(event.key === "ArrowRight" ? 1 : -1);
    return undefined;
  }
  return state.view === "images" ? gridKey(event, target) : undefined;
});
document.addEventListener("keyup", (event) => { if (event.key === " ") peek(false); });

/** @param {KeyboardEvent} event @param {any} target */
function gridKey(event, target) {
  const move = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [4, 0], PageUp: [-4, 0] }[event.key];
  const cell = target.closest(".cell");
  if (cell) {
    cursor.at = Number(cell.closest(".row").dataset.at);
    cursor.column = cellsOf(rowOf(cell) ?? /** @type {any} */ (null)).indexOf(cell);
  }
  const entry = order[cursor.at];
  if (move && target.closest("#grid")) moveCursor(cursor.at + move[0], cursor.column + move[1]);
  else if (event.key === "Home" || event.key === "End") moveCursor(event.key === "Home" ? 0 : order.length - 1, cursor.column);
  else if (/^[1-9]$/.test(event.key)) moveCursor(cell ? cursor.at : Math.round(grid.scrollTop / height()), Number(event.key) + (state.difference === "method" ? 1 : 0));
  else if (event.key === "/") find("find").focus();
  else if (entry && (event.key === "f" || event.key === "Enter")) openDetail(head.rows[entry.row].image);
  else if (entry && event.key === "b") toggleBasket(entry.row);
  else return;
  event.preventDefault();
}

find("help-open").addEventListener("click", () => find("help").showModal());
find("help-close").addEventListener("click", () => find("help").close());

// Paper has no scroll bar.
window.addEventListener("beforeprint", () => printing(true));
window.addEventListener("afterprint", () => printing(false));

readAddress();
fillColumns();
apply(Object.keys(START));
