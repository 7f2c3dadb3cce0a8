// One row: an image explained for one target of one backbone, by all methods. Pictures arrive later than the row.

/** @typedef {{row: number, minus?: number}} Entry  minus: the row that is taken away, where the row is a difference */
/** @typedef {{element: any, pic: any, zoom: any, heat: any, line: any, note: any, data: CellData | null, method: number}} Cell */
/** @typedef {{entry: Entry, element: any, photo: Cell, contrast: Cell | null, cells: Map<number, Cell>, data: Pictures | null,
 *   other: Pictures | null, truth: {size: string, mask: Uint8Array | null} | null, shift: {k: number, x: number, y: number}}} Row */

/** Rows that are on the page now. @type {Set<Row>} */
const live = new Set();

/** @param {Entry} entry @param {boolean} [aside] whether names stand under the pictures @returns {Row} */
function makeRow(entry, aside = false) {
  const element = make("div", { className: "row", role: "row" });
  /** @type {Row} */
  const row = {
    entry, element, photo: makeCell("Photograph", -1, aside), contrast: null, cells: new Map(), data: null, other: null, truth: null,
    shift: { k: 1, x: 0, y: 0 },
  };
  const heading = make("div", { className: "facts", role: "rowheader" }, ...factsOf(entry));
  element.append(heading, row.photo.element);
  row.photo.element.classList.add("first");
  if (state.difference === "method" && entry.minus === undefined) {
    row.contrast = makeCell(contrastName(), -2, aside);
    element.append(row.contrast.element);
  }
  for (const method of columns()) {
    const cell = makeCell(head.methods[method].label, method, aside);
    row.cells.set(method, cell);
    element.append(cell.element);
  }
  /** @type {any} */ (element).row = row;
  live.add(row);
  const wanted = [pictures(entry.row), entry.minus === undefined ? null : pictures(entry.minus)];
  Promise.all(wanted).then(([data, other]) => { if (live.has(row)) fill(row, /** @type {Pictures} */ (data), other); })
    .catch((error) => { if (live.has(row)) row.photo.pic.replaceChildren(stateOf({ word: "not found", reason: error.message })); });
  return row;
}

/** @param {Row} row */
function dropRow(row) {
  live.delete(row);
  row.element.remove();
}

const contrastName = () => `${head.methods[state.first]?.label} − ${head.methods[state.second]?.label}`;

/** @param {string} name @param {number} method @param {boolean} aside @returns {Cell} */
function makeCell(name, method, aside) {
  const frame = make("div", { className: "zoom" });
  const pic = make("div", { className: "pic" }, frame);
  const line = make("span", { className: "line" });
  const note = make("span", { className: "note-line" });
  const element = make("div", { className: "cell", role: "gridcell", tabindex: "-1" }, pic, line, note);
  element.dataset.method = method;
  element.setAttribute("aria-label", name);
  if (aside) element.prepend(make("span", { className: "name", title: name }, make("bdi", {}, name)));
  return { element, pic, zoom: frame, heat: null, line, note, data: null, method };
}

/** @param {Entry} entry @returns {Node[]} */
function factsOf(entry) {
  const facts = head.rows[entry.row];
  const place = head.places[facts.place];
  const image = head.images[facts.image];
  /** @param {string} key @param {...(Node | string)} texts */
  const part = (key, ...texts) => make("span", {}, ...(key ? [make("span", { className: "key" }, `${key} `)] : []), ...texts);
  const bdi = (/** @type {string} */ text) => make("bdi", {}, text);
  const open = make("button", { type: "button", className: "link id", title: "Open this image" }, bdi(image.id));
  open.dataset.open = facts.image;
  if (entry.minus !== undefined) {
    const other = head.places[head.rows[entry.minus].place];
    const which = /** @type {keyof Place} */ (state.difference);
    return [part("", bdi(image.id)), part("difference", bdi(place[which]), " − ", bdi(other[which]))];
  }
  const pick = make("input", { type: "checkbox", checked: basket().has(entry.row), title: "In the basket" });
  pick.setAttribute("aria-label", `Put ${image.id} into the basket`);
  pick.dataset.pick = entry.row;
  const nodes = [make("label", { className: "pick" }, pick), part("", open)];
  if (image.label) nodes.push(part("label", bdi(image.label)));
  if (facts.prediction) {
    const sure = facts.probability === undefined ? "" : ` ${(100 * facts.probability).toFixed(1)} %`;
    const right = facts.correct === undefined ? [] : [make("span", { className: facts.correct ? "right" : "wrong" }, facts.correct ? " ✓ correct" : " ✗ wrong")];
    nodes.push(part("predicted", bdi(facts.prediction), sure, ...right));
  }
  if (facts.explained || place.target) {
    const score = facts.score === undefined ? "" : `, ${facts.kind} ${number(facts.score)}`;
    const rule = facts.explained && place.target ? [" (", bdi(place.target), ")"] : [];
    nodes.push(part("explains", bdi(facts.explained || place.target), ...rule, score));
  }
  if (place.backbone) nodes.push(part("backbone", bdi(place.backbone)));
  if (place.dataset) nodes.push(part("dataset", bdi(place.dataset)));
  if (place.run) nodes.push(part("run", bdi(place.run)));
  return nodes;
}

/** @param {CellData} data */
function stateOf(data) {
  const why = data.reason ? [make("span", { className: "why" }, make("bdi", {}, data.reason))] : [];
  const kind = data.range === "all zero" ? "zero" : "hatch";
  return make("div", { className: `state ${kind}`, title: data.reason ?? "" }, make("b", {}, data.word ?? ""), ...why);
}

/** @param {Row} row @param {Pictures} data @param {Pictures | null} other */
function fill(row, data, other) {
  row.data = data;
  row.other = other;
  const about = head.images[head.rows[row.entry.row].image];
  row.element.classList.toggle("pixels", Boolean(data.pixels));
  row.element.style.setProperty("--aspect", String(data.size[0] / data.size[1]));
  const photo = (alt = "") => make("img", { className: "photo", src: data.photograph, alt, draggable: false, decoding: "async" });
  if (data.photograph) row.photo.zoom.append(photo(`Photograph ${about.id}${about.label ? `, ${about.label}` : ""}`));
  else row.photo.pic.append(stateOf({ word: "no photograph", reason: data.missing }));
  row.photo.line.textContent = "";
  for (const [method, cell] of row.cells) {
    const mine = data.cells[method];
    cell.data = mine;
    if (data.photograph) cell.zoom.append(photo());
    const name = head.methods[method].label;
    if (other) { drawDifference(cell, mine, other.cells[method], `Difference of ${name}`); continue; }
    if (!mine.map) { cell.pic.append(stateOf(mine)); continue; }
    const explained = head.rows[row.entry.row].explained || "the target";
    const alt = `${name} for ${explained} in ${about.id}: values ${number(mine.low)} … ${number(mine.high)}`;
    cell.heat = make("img", { className: "heat", alt, draggable: false, decoding: "async" });
    cell.heat.addEventListener("load", () => drawCell(row, cell));
    cell.heat.src = mine.map;
    cell.zoom.append(cell.heat);
  }
  if (row.contrast && data.photograph) row.contrast.zoom.append(photo());
  refreshRow(row);
}

/** Put the difference of two maps into a cell, as soon as both are there.
 * @param {Cell} cell @param {CellData} a @param {CellData} b @param {string} name */
function drawDifference(cell, a, b, name) {
  const absent = [a, b].find((data) => !data.map);
  cell.element.classList.add("contrast");
  if (absent) { cell.pic.append(stateOf(absent)); return; }
  const [x, y] = [a, b].map(() => make("img", { alt: "" }));
  const draw = () => {
    const [p, q] = [gridOf(x), gridOf(y)];
    if (!p || !q) return;
    const found = differenceOf(p, q);
    found.element.className = "heat signed";
    found.element.setAttribute("role", "img");
    found.element.setAttribute("aria-label", `${name}: rank correlation ${number(found.correlation)}`);
    all("canvas.heat", cell.zoom).forEach((old) => old.remove());
    cell.zoom.append(found.element);
    cell.line.textContent = `±${number(found.top)} · ρ ${number(found.correlation)}`;
    cell.line.title = "largest difference, each map in shares of its largest value · rank correlation of the two maps";
  };
  for (const [image, data] of /** @type {[any, CellData][]} */ ([[x, a], [y, b]])) {
    image.addEventListener("load", draw);
    image.src = data.map;
  }
}

/** Everything that depends on what the reader chose. @param {Row} row */
function refreshRow(row) {
  const { data } = row;
  if (!data) return;
  all(".truth", row.element).forEach((old) => old.remove());
  if (data.boxes || data.runs) {
    row.photo.zoom.append(truthOf(data));
    if (state.truth) for (const cell of row.cells.values()) cell.zoom.append(truthOf(data));
  }
  for (const cell of row.cells.values()) if (row.entry.minus === undefined) drawCell(row, cell);
  drawContrast(row);
}

/** @param {Pictures} data */
function truthOf(data) {
  const names = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(names, "svg");
  const [w, h] = data.runs ?? [1000, 1000];
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "truth");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(names, "path");
  const boxes = () => (data.boxes ?? []).map(([a, b, c, d]) => `M${a * w} ${b * h}H${c * w}V${d * h}H${a * w}Z`).join("");
  path.setAttribute("d", data.runs ? outline(data.runs) : boxes());
  svg.append(path);
  return svg;
}

/** Scale, line and threshold of one map. @param {Row} row @param {Cell} cell */
function drawCell(row, cell) {
  const { data, heat } = cell;
  if (!data) return;
  if (data.map && heat) {
    const top = topOf(data);
    const method = head.methods[cell.method];
    const end = state.scale === "method" ? method.top : state.scale === "saturated" ? data.most : top;
    heat.style.setProperty("--gain", String(end ? top / end : 1));
    heat.classList.toggle("signed", method.signed);
  }
  cell.line.textContent = lineOf(row, cell);
  const grid = state.threshold && heat && row.data && gridOf(heat);
  if (!grid || !row.data) {
    all("canvas.cut", cell.zoom).forEach((old) => old.remove());
    cell.note.textContent = "";
    return;
  }
  const size = `${grid.width} ${grid.height}`;
  if (!row.truth || row.truth.size !== size) row.truth = { size, mask: truthOn(row.data, grid) };
  const found = cut(grid, state.threshold / 100, row.truth.mask);
  drawShade(cell, grid, found.inside);
  cell.note.textContent = "";
  if (found.iou !== null) cell.note.textContent = `IoU ${number(found.iou)} · ${found.hit ? "hit" : "miss"}`;
}

/** @param {CellData} data */
const topOf = (data) => Math.max(-(data.low ?? 0), data.high ?? 0);

/** @param {Row} row @param {Cell} cell @returns {string} */
function lineOf(row, cell) {
  const { data } = cell;
  if (!data) return "";
  if (state.metric !== "") {
    const metric = Number(state.metric);
    if (!numbers.has(metric)) { load(metric).then(() => refresh()); return "…"; }
    return number(valueOf(metric, row.entry.row, cell.method));
  }
  return data.map ? `${number(data.low)} … ${number(data.high)}` : data.range ?? "";
}

/** What lies below the threshold is darkened, its border drawn. @param {Cell} cell @param {Grid} grid @param {Uint8Array} inside */
function drawShade(cell, { width, height }, inside) {
  let element = cell.zoom.querySelector("canvas.cut");
  if (!element) {
    element = make("canvas", { width, height, className: "cut" });
    element.setAttribute("aria-hidden", "true");
    cell.zoom.append(element);
  }
  const context = element.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const [shade, white] = [150 << 24, -1];
  for (let i = 0; i < inside.length; i += 1) {
    if (!inside[i]) { pixels[i] = shade; continue; }
    const x = i % width;
    const edge = x === 0 || x === width - 1 || i < width || i >= inside.length - width
      || !inside[i - 1] || !inside[i + 1] || !inside[i - width] || !inside[i + width];
    if (edge) pixels[i] = white;
  }
  context.putImageData(image, 0, 0);
}

/** The difference of two methods. @param {Row} row */
function drawContrast(row) {
  const cell = row.contrast;
  if (!cell || !row.data) return;
  all(".heat, .state", cell.pic).forEach((old) => old.remove());
  cell.note.textContent = "";
  drawDifference(cell, row.data.cells[state.first], row.data.cells[state.second], contrastName());
}

/** Draw all rows anew that are on the page. */
function refresh() {
  for (const row of live) refreshRow(row);
}
