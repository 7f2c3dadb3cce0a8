// The leaderboard: tables that can be sorted, and a point for each image, which leads to it.

/** Where the points of a strip are: row of the page and place on the strip. @type {WeakMap<any, {row: number, x: number, y: number}[]>} */
const strips = new WeakMap();

/** @param {any} board @param {number} column @param {any} button */
function sortTable(board, column, button) {
  const falling = button.getAttribute("aria-sort") === "ascending";
  const lines = all("tbody tr", board);
  const key = (/** @type {any} */ line) => {
    const text = line.children[column].textContent.trim().replace(/−/g, "-");
    const value = parseFloat(text);
    return Number.isFinite(value) && column ? value : column ? Infinity : text;
  };
  lines.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
  if (falling) lines.reverse();
  for (const other of all("th[aria-sort]", board)) other.removeAttribute("aria-sort");
  button.setAttribute("aria-sort", falling ? "descending" : "ascending");
  board.tBodies[0].append(...lines);
}

/** @param {any} details */
async function drawStrips(details) {
  const metric = head.metrics.findIndex((m) => m.label === details.dataset.metric);
  if (metric < 0 || details.drawn) return;
  details.drawn = true;
  const values = numbers.get(metric) ?? await load(metric);
  const where = all("#board-place option")[Number(details.dataset.board)]?.textContent;
  const nameOf = (/** @type {Place} */ place) => PARTS.map((part) => place[part]).filter(Boolean).join(", ");
  const rows = head.rows.map((_, row) => row).filter((row) => !where || nameOf(head.places[head.rows[row].place]) === where);
  const every = rows.flatMap((row) => values[row]).filter((v) => v !== null);
  const low = Math.min(...every);
  const high = Math.max(...every);
  for (const line of all("tbody tr", details)) {
    const method = head.methods.findIndex((m) => m.label === line.dataset.label);
    drawStrip(line.querySelector("canvas"), rows.map((row) => ({ row, value: values[row][method] })), low, high);
  }
}

/** @param {any} element @param {{row: number, value: number | null}[]} found @param {number} low @param {number} high */
function drawStrip(element, found, low, high) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [192, 20];
  element.width = w * ratio;
  element.height = h * ratio;
  const context = element.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  context.globalAlpha = Math.max(0.15, Math.min(0.8, 20 / found.length));
  const points = [];
  for (const { row, value } of found) {
    if (value === null) continue;
    const x = 4 + (high > low ? (value - low) / (high - low) : 0.5) * (w - 8);
    const y = 4 + ((row * 7919) % 13);  // spread, the same at every look
    context.beginPath();
    context.arc(x, y, 2, 0, 7);
    context.fill();
    points.push({ row, x, y });
  }
  strips.set(element, points);
}

/** @param {any} event */
function nearestPoint(event) {
  const box = event.target.getBoundingClientRect();
  const [x, y] = [((event.clientX - box.left) / box.width) * 192, ((event.clientY - box.top) / box.height) * 20];
  let best = null;
  let least = 36;
  for (const point of strips.get(event.target) ?? []) {
    const far = (point.x - x) ** 2 + ((point.y - y) / 2) ** 2;
    if (far < least) { least = far; best = point; }
  }
  return best;
}

/** The first rows, so that maps are the first thing seen: of one image, where it has several. */
function drawExamples() {
  const box = find("examples");
  if (!box || box.childElementCount || state.view !== "overview") return;
  const first = head.rows.map((_, row) => row).filter((row) => head.rows[row].image === 0);
  for (const row of (first.length > 1 ? first : [0, 1]).slice(0, 2)) if (row in head.rows) box.append(makeRow({ row }, true).element);
  find("all-images").hidden = head.rows.length === 0;
}

function drawBoard() {
  drawExamples();
  for (const element of all("[data-board]")) element.hidden = Number(element.dataset.board) !== state.board;
  for (const details of all("details.metric")) if (details.open && !details.hidden) drawStrips(details);
}

find("all-images")?.addEventListener("click", () => change({ view: "images" }));
for (const details of all("details.metric")) details.addEventListener("toggle", drawBoard);
for (const board of all("table.board")) {
  all("thead th", board).forEach((cell, column) => {
    if (!("sort" in cell.dataset)) return;
    const button = make("button", { type: "button", className: "link" }, ...cell.childNodes);
    button.addEventListener("click", () => sortTable(board, column, cell));
    cell.append(button);
  });
}
for (const element of all("canvas.each")) {
  element.addEventListener("click", (/** @type {any} */ event) => {
    const point = nearestPoint(event);
    if (point) change({ view: "images", image: head.rows[point.row].image });
  });
  element.addEventListener("pointermove", (/** @type {any} */ event) => {
    const point = nearestPoint(event);
    element.title = point ? head.images[head.rows[point.row].image].id : "";
    element.style.cursor = point ? "pointer" : "";
  });
}
