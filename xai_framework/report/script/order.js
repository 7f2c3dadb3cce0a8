// Which rows are shown, and in which order.

/** @param {number} row @returns {string} */
const textOf = (row) => {
  const facts = head.rows[row];
  const image = head.images[facts.image];
  return `${image.id} ${image.label} ${facts.prediction ?? ""} ${facts.explained ?? ""}`.toLowerCase();
};
/** @type {string[]} */
const texts = [];

/** @param {number} row @returns {boolean} */
function fits(row) {
  const facts = head.rows[row];
  const place = head.places[facts.place];
  if (PARTS.some((part) => state[part] && place[part] !== state[part])) return false;
  const wanted = state.find.trim().toLowerCase();
  if (wanted && !(texts[row] ??= textOf(row)).includes(wanted)) return false;
  if (state.class && head.images[facts.image].label !== state.class && facts.explained !== state.class) return false;
  if (state.correct && String(facts.correct) !== state.correct) return false;
  const sure = 100 * (facts.probability ?? NaN);
  if (state.low && !(sure >= Number(state.low))) return false;
  if (state.high && !(sure <= Number(state.high))) return false;
  const shown = columns().map((method) => facts.statuses[method]);
  if (state.state && !(state.state === "o" ? shown.every((s) => s === "o") : shown.includes(state.state))) return false;
  if (state.metric !== "" && (state.from || state.to)) {
    const from = state.from ? Number(state.from) : -Infinity;
    const to = state.to ? Number(state.to) : Infinity;
    return columns().some((method) => {
      const value = valueOf(Number(state.metric), row, method);
      return value !== null && value >= from && value <= to;
    });
  }
  return true;
}

/** What a row is sorted by: larger first, unknown last. @param {number} row @returns {number | string | null} */
function keyOf(row) {
  const facts = head.rows[row];
  if (state.sort === "id") return head.images[facts.image].id;
  if (state.sort === "probability") return facts.probability ?? null;
  if (state.sort === "disagreement") return facts.disagreement ?? null;
  if (state.sort === "value" && state.metric !== "") {
    const value = valueOf(Number(state.metric), row, state.of);
    return value === null || head.metrics[Number(state.metric)].higher ? value : -value;
  }
  return null;
}

/** @returns {Entry[]} */
function entries() {
  let rows = head.rows.map((_, row) => row).filter(fits);
  const known = rows.filter((row) => keyOf(row) !== null);
  if (known.length) {
    const byName = state.sort === "id";
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const keys = new Map(known.map((row) => [row, keyOf(row)]));
    known.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return byName ? compare(String(x), String(y)) : Number(y) - Number(x);
    });
    if (state.turned) known.reverse();
    rows = [...known, ...rows.filter((row) => !keys.has(row))];
  }
  const plain = rows.map((row) => ({ row }));
  return PARTS.includes(/** @type {keyof Place} */ (state.difference)) ? withDifferences(rows) : plain;
}

/** Rows of one image together, followed by the differences of those that differ in the chosen part alone.
 * @param {number[]} rows @returns {Entry[]} */
function withDifferences(rows) {
  const part = /** @type {keyof Place} */ (state.difference);
  const names = valuesOf(part);
  /** @type {Map<number, number[]>} */
  const byImage = new Map();
  for (const row of rows) {
    const image = head.rows[row].image;
    byImage.set(image, [...(byImage.get(image) ?? []), row]);
  }
  const placeOf = (/** @type {number} */ row) => head.places[head.rows[row].place];
  const rest = (/** @type {number} */ row) => JSON.stringify({ ...placeOf(row), [part]: "" });
  return [...byImage.values()].flatMap((mine) => {
    const firsts = mine.filter((row) => placeOf(row)[part] === names[state.first]);
    const pairs = firsts.flatMap((row) => mine
      .filter((other) => placeOf(other)[part] === names[state.second] && rest(other) === rest(row))
      .map((minus) => ({ row, minus })));
    return [...mine.map((row) => ({ row })), ...pairs];
  });
}

/** Names of the runs, backbones or targets. @param {keyof Place} part @returns {string[]} */
const valuesOf = (part) => [...new Set(head.places.map((place) => place[part]))];
