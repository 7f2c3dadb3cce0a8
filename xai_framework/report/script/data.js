// What the page shows: facts that are always there, and pictures and numbers that are fetched when needed.

/** @typedef {{label: string, parameters: string, doc: string, top: number, signed: boolean}} Method */
/** @typedef {{run: string, backbone: string, target: string, dataset: string}} Place */
/** @typedef {{image: number, place: number, statuses: string, explained?: string, score?: number, kind?: string,
 *   prediction?: string, probability?: number, correct?: number, disagreement?: number}} Facts */
/** @typedef {{map?: string, low?: number, high?: number, most?: number, word?: string, reason?: string, range?: string}} CellData */
/** @typedef {{size: number[], full: number[], cells: CellData[], photograph?: string, missing?: string, pixels?: number,
 *   boxes?: number[][], runs?: number[]}} Pictures */
/** @typedef {{title: string, methods: Method[], metrics: {label: string, higher: boolean, judged: boolean}[], places: Place[],
 *   images: {id: string, label: string}[], rows: Facts[], piece: number, folder: string,
 *   style: {opacity: number, scale: string, grey: boolean}}} Head */

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);
/** @param {string} selector @param {ParentNode} [within] @returns {any[]} */
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** @type {Head} */
const head = JSON.parse(find("head").textContent);

/** Pieces that are loaded or on their way. The oldest are let go. @type {Map<string, Promise<any>>} */
const pieces = new Map();
/** @type {Map<string, (data: any) => void>} */
const awaited = new Map();
const MOST_PIECES = 40;

/** @type {any} */ (window).xaiPiece = (/** @type {string} */ name, /** @type {any} */ data) => {
  const take = awaited.get(name);
  awaited.delete(name);
  if (take) take(data);
};

/** @param {string} name @returns {Promise<any>} */
function piece(name) {
  const known = pieces.get(name);
  if (known) return known;
  const loading = new Promise((resolve, reject) => {
    const inside = find(name);
    if (inside) return resolve(JSON.parse(inside.textContent));
    awaited.set(name, resolve);
    const script = document.createElement("script");
    script.src = `${head.folder}/${name}.js`;
    script.onerror = () => { pieces.delete(name); reject(new Error(`${head.folder}/${name}.js is missing`)); };
    script.onload = () => script.remove();
    document.head.append(script);
  });
  pieces.set(name, loading);
  if (pieces.size > MOST_PIECES) {
    const oldest = [...pieces.keys()].find((key) => key.startsWith("rows") && !awaited.has(key));
    if (oldest !== undefined && oldest !== name) pieces.delete(oldest);
  }
  return loading;
}

/** @param {number} row @returns {Promise<Pictures>} */
const pictures = (row) => piece(`rows${Math.floor(row / head.piece)}`).then((rows) => rows[row % head.piece]);

/** Numbers of a metric, by row and method; null where there is none. @type {Map<number, (number | null)[][]>} */
const numbers = new Map();
/** @param {number} metric @returns {Promise<(number | null)[][]>} */
const load = (metric) => piece(`values${metric}`).then((values) => { numbers.set(metric, values); return values; });
/** @param {number} metric @param {number} row @param {number} method @returns {number | null} */
const valueOf = (metric, row, method) => numbers.get(metric)?.[row][method] ?? null;

/** What rows of one image differ by. @type {(keyof Place)[]} */
const PARTS = ["run", "backbone", "target", "dataset"];

/** Three digits that count. @param {number | null | undefined} value @returns {string} */
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = value === 0 ? "0" : size >= 999.5 && size < 1e5 ? value.toFixed(0)
    : size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
  return text.replace("+", "").replace(/-/g, "−");
}

/** A new element with attributes, properties and children; texts stay texts.
 * @param {string} tag @param {Record<string, any>} [how] @param {...(Node | string)} children @returns {any} */
function make(tag, how = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(how)) {
    if (key in element && key !== "role") /** @type {any} */ (element)[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
