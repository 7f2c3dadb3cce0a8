// Images put aside, to be taken along as numbers or as a figure. Files are made here; nothing leaves the page.

/** @param {number} row */
function toggleBasket(row) {
  const rows = basket();
  if (!rows.delete(row)) rows.add(row);
  change({ basket: [...rows].join(".") });
}

function drawBasket() {
  const rows = basket();
  find("basket-count").textContent = String(rows.size);
  find("basket-empty").hidden = rows.size > 0;
  for (const box of all("[data-pick]")) box.checked = rows.has(Number(box.dataset.pick));
  for (const button of all("[data-download], #basket-clear")) button.disabled = rows.size === 0;
}

/** @param {string} name @param {Blob} blob */
function save(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const WORDS = { o: "ok", z: "zero", n: "nonfinite", f: "failed", a: "not_applicable", "-": "missing" };

/** One line a picture and method. @returns {Promise<string[][]>} */
async function spreadsheet() {
  await Promise.all(head.metrics.map((_, metric) => numbers.get(metric) ?? load(metric)));
  const found = [["image", "label", ...PARTS, "explained", "prediction", "probability", "method", "status", ...head.metrics.map((m) => m.label)]];
  for (const row of basket()) {
    const facts = head.rows[row];
    const place = head.places[facts.place];
    const { id, label } = head.images[facts.image];
    for (const method of columns()) {
      const status = WORDS[/** @type {keyof WORDS} */ (facts.statuses[method])];
      const values = head.metrics.map((_, metric) => String(valueOf(metric, row, method) ?? ""));
      found.push([id, label, ...PARTS.map((part) => place[part]), facts.explained ?? "", facts.prediction ?? "",
        String(facts.probability ?? ""), head.methods[method].label, status, ...values]);
    }
  }
  return found;
}

/** @param {string} text @returns {string} */
function quoted(text) {
  // a leading sign would be a formula to a spreadsheet; numbers are none
  const safe = /^[=+\-@\t\r]/.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

/** @param {string} text @returns {string} */
const tex = (text) => text.replace(/[\\{}$&#^_%~]/g, (sign) => ({ "\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}" })[sign] ?? `\\${sign}`);

/** @param {string[][]} rows @returns {string} */
function latex(rows) {
  const [heads, ...rest] = rows.map((line) => line.map((text) => tex(/^-?\d*\.\d+(e.*)?$/.test(text) ? String(Number(Number(text).toPrecision(3))) : text)));
  const used = heads.map((_, i) => rest.some((line) => line[i] !== ""));
  const row = (/** @type {string[]} */ line) => `${line.filter((_, i) => used[i]).join(" & ")} \\\\`;
  return [`\\begin{tabular}{${used.filter(Boolean).map(() => "l").join("")}}`, "\\toprule", row(heads), "\\midrule", ...rest.map(row), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

/** @param {string} address @returns {Promise<HTMLImageElement>} */
const loaded = (address) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = reject;
  image.src = address;
});

/** A map as the page shows it, over its photograph. @param {any} context @param {CellData} data @param {Method} method
 * @param {number} x @param {number} y @param {number} w @param {number} h */
async function paint(context, data, method, x, y, w, h) {
  const image = await loaded(/** @type {string} */ (data.map));
  const drawn = canvas(w, h);
  drawn.context.drawImage(image, 0, 0, w, h);
  const pixels = drawn.context.getImageData(0, 0, w, h);
  const colours = colourTable(method.signed ? "d" : state.colours);
  const end = state.scale === "method" ? method.top : state.scale === "saturated" ? data.most : topOf(data);
  const gain = end ? topOf(data) / end : 1;
  for (let i = 0; i < pixels.data.length; i += 4) {
    const grey = Math.max(0, Math.min(255, Math.round(127.5 + (pixels.data[i] - 127.5) * gain)));
    pixels.data.set(colours.subarray(3 * grey, 3 * grey + 3), i);
  }
  drawn.context.putImageData(pixels, 0, 0);
  context.globalAlpha = state.opacity / 100;
  context.drawImage(drawn.element, x, y);
  context.globalAlpha = 1;
}

/** @returns {Promise<Blob>} */
async function figure() {
  const [side, gap, top] = [224, 8, 28];
  const rows = [...basket()];
  const methods = columns();
  const sheet = canvas((methods.length + 1) * (side + gap) + gap, top + rows.length * (side + gap));
  const { context } = sheet;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, sheet.element.width, sheet.element.height);
  context.font = "15px system-ui, sans-serif";
  context.textBaseline = "middle";
  const label = (/** @type {string} */ text, /** @type {number} */ column) => {
    context.fillStyle = "#111";
    context.fillText(text, gap + column * (side + gap), top / 2, side);
  };
  label("Photograph", 0);
  methods.forEach((method, i) => label(head.methods[method].label, i + 1));
  for (const [line, row] of rows.entries()) {
    const data = await pictures(row);
    const factor = side / Math.max(...data.size);
    const [w, h] = data.size.map((v) => Math.round(v * factor));
    const y = top + line * (side + gap);
    const photograph = data.photograph ? await loaded(data.photograph) : null;
    if (photograph) context.drawImage(photograph, gap, y, w, h);
    for (const [i, method] of methods.entries()) {
      const x = gap + (i + 1) * (side + gap);
      context.filter = state.grey ? "grayscale(1)" : "none";
      if (photograph) context.drawImage(photograph, x, y, w, h);
      context.filter = "none";
      const cell = data.cells[method];
      if (cell.map) await paint(context, cell, head.methods[method], x, y, w, h);
      else {
        context.fillStyle = "#ddde";
        context.fillRect(x, y, w, h);
        context.fillStyle = "#111";
        context.fillText(cell.word ?? "", x + 8, y + h / 2, w - 16);
      }
    }
  }
  return new Promise((resolve) => { sheet.element.toBlob(resolve, "image/png"); });
}

for (const button of all("[data-download]")) {
  button.addEventListener("click", async () => {
    const kind = button.dataset.download;
    const name = `${head.title.replace(/[^\w.-]+/g, "-")}.${kind}`;
    if (kind === "png") return save(name, await figure());
    const rows = await spreadsheet();
    const text = kind === "csv" ? rows.map((line) => line.map(quoted).join(",")).join("\n") + "\n" : latex(rows);
    return save(name, new Blob([text], { type: kind === "csv" ? "text/csv" : "application/x-tex" }));
  });
}
find("basket-clear").addEventListener("click", () => change({ basket: "" }));
