// One image, large: all backbones and targets, all methods, and what every metric says.

const dialog = find("detail");

/** @param {number} image */
function openDetail(image) {
  change({ image });
}

/** Draw the image that the state names, or close. */
function drawDetail() {
  const rows = all(".row", find("detail-body")).map((element) => element.row);
  rows.forEach(dropRow);
  if (state.image < 0) {
    if (dialog.open) dialog.close();
    return;
  }
  const { id, label } = head.images[state.image];
  find("detail-title").textContent = label ? `${id} · ${label}` : id;
  const mine = head.rows.map((_, row) => row).filter((row) => head.rows[row].image === state.image);
  const part = PARTS.includes(/** @type {keyof Place} */ (state.difference));
  for (const entry of part ? withDifferences(mine) : mine.map((row) => ({ row }))) {
    find("detail-body").append(makeRow(entry, true).element);
  }
  drawValues(mine);
  if (!dialog.open) dialog.showModal();
}

/** A table of all metrics for these rows. @param {number[]} rows */
async function drawValues(rows) {
  const box = find("detail-values");
  box.hidden = !head.metrics.length;
  if (box.hidden) return;
  await Promise.all(head.metrics.map((_, metric) => numbers.get(metric) ?? load(metric)));
  const named = head.places.length > 1;
  const heads = ["Metric", ...(named ? ["Backbone", "Target"] : []), ...columns().map((method) => head.methods[method].label)];
  const lines = head.metrics.flatMap((metric, m) => rows.map((row) => {
    const place = head.places[head.rows[row].place];
    const values = columns().map((method) => make("td", {}, number(valueOf(m, row, method))));
    const name = metric.judged ? `${metric.label} ${metric.higher ? "↑" : "↓"}` : metric.label;
    return make("tr", {}, make("th", { scope: "row" }, name), ...(named ? [make("td", {}, place.backbone), make("td", {}, place.target)] : []), ...values);
  }));
  const sheet = make("table", { className: "list" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...lines));
  box.replaceChildren(sheet);
}

/** The image before or after, in the order of the grid. @param {number} by */
function step(by) {
  const images = [...new Set(order.map((entry) => head.rows[entry.row].image))];
  const at = images.indexOf(state.image);
  const next = images[(at + by + images.length) % images.length];
  if (next !== undefined) change({ image: next });
}

find("detail-close").addEventListener("click", () => change({ image: -1 }));
find("detail-before").addEventListener("click", () => step(-1));
find("detail-after").addEventListener("click", () => step(1));
dialog.addEventListener("cancel", (/** @type {Event} */ event) => { event.preventDefault(); change({ image: -1 }); });
