// What the reader has chosen. All of it stands in the address of the page, so that a view can be shared.

/** One line of pictures in this window where that is not too small. */
function startSize() {
  const room = (window.innerWidth - 60) / (head.methods.length + 1) - 12;
  return Math.floor(Math.max(112, Math.min(head.images.length === 1 ? 320 : 224, room)) / 4) * 4;
}

const START = {
  view: all("[role=tab]")[0].dataset.view,
  opacity: Math.round(100 * head.style.opacity), size: startSize(), threshold: 0, scale: head.style.scale,
  colours: find("colours").value, grey: head.style.grey, truth: false, metric: "",
  sort: "", of: 0, turned: false, difference: "", first: 0, second: 1,
  run: "", backbone: "", target: "", dataset: "", find: "", class: "", correct: "", low: "", high: "", state: "", from: "", to: "",
  columns: head.methods.map((_, i) => i).join("."), image: -1, board: 0, basket: "",
};
/** @typedef {typeof START} State */

/** @type {State} */
const state = { ...START };

/** Take over what the address says; whatever does not fit is left out. */
function readAddress() {
  Object.assign(state, START);
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!(key in START)) continue;
    const usual = /** @type {any} */ (START)[key];
    const value = typeof usual === "number" ? Number(text) : typeof usual === "boolean" ? text === "true" : text;
    if (typeof usual !== "number" || Number.isFinite(value)) /** @type {any} */ (state)[key] = value;
  }
  if (!find(`tab-${state.view}`)) state.view = START.view;
  if (!(state.image in head.images)) state.image = -1;
  if (state.metric !== "" && !(state.metric in head.metrics)) state.metric = "";
  if (!(state.of in head.methods)) state.of = 0;
  if (!all("#board-place option")[state.board]) state.board = 0;
}

function writeAddress() {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (value !== /** @type {any} */ (START)[key]) said.set(key, String(value));
  }
  const text = said.toString();
  if (text === location.hash.slice(1)) return;
  // not pushed: going back leaves the page, as a reader expects
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

/** Methods in the order in which they are shown. @returns {number[]} */
const columns = () => [...new Set(state.columns.split(".").map(Number))].filter((i) => i in head.methods && state.columns);

/** Rows in the basket. @returns {Set<number>} */
const basket = () => new Set(state.basket.split(".").filter(Boolean).map(Number).filter((i) => i in head.rows));
