// Maps as numbers, read back from their grey pictures: black is -top, middle grey 0, white top.

const FINEST = 112;

/** @typedef {{width: number, height: number, values: Float32Array}} Grid */

/** @type {WeakMap<HTMLImageElement, Grid>} */
const grids = new WeakMap();

/** Values of a map as shares of its largest magnitude, on a grid of at most FINEST cells a side; null until it is drawn.
 * @param {HTMLImageElement} image @returns {Grid | null} */
function gridOf(image) {
  const known = grids.get(image);
  if (known) return known;
  if (!image.complete || !image.naturalWidth) return null;
  const factor = Math.min(1, FINEST / Math.max(image.naturalWidth, image.naturalHeight));
  const width = Math.max(1, Math.round(image.naturalWidth * factor));
  const height = Math.max(1, Math.round(image.naturalHeight * factor));
  const context = canvas(width, height).context;
  context.drawImage(image, 0, 0, width, height);
  const bytes = context.getImageData(0, 0, width, height).data;
  const values = new Float32Array(width * height);
  for (let i = 0; i < values.length; i += 1) values[i] = bytes[4 * i] / 127.5 - 1;
  const grid = { width, height, values };
  grids.set(image, grid);
  return grid;
}

/** @param {number} width @param {number} height */
function canvas(width, height) {
  const element = make("canvas", { width, height });
  return { element, context: element.getContext("2d", { willReadFrequently: true }) };
}

/** The true region on a grid; null where there is none. @param {Pictures} data @param {Grid} grid @returns {Uint8Array | null} */
function truthOn(data, grid) {
  const { width, height } = grid;
  if (!data.boxes && !data.runs) return null;
  const inside = new Uint8Array(width * height);
  if (data.runs) {
    const [w, h] = data.runs;
    const mask = unpacked(data.runs);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        inside[y * width + x] = mask[Math.floor(((y + 0.5) * h) / height) * w + Math.floor(((x + 0.5) * w) / width)];
      }
    }
    return inside;
  }
  for (const [a, b, c, d] of data.boxes ?? []) {
    for (let y = Math.round(b * height); y < Math.round(d * height); y += 1) {
      inside.fill(1, y * width + Math.round(a * width), y * width + Math.round(c * width));
    }
  }
  return inside;
}

/** @param {number[]} runs @returns {Uint8Array} */
function unpacked(runs) {
  const mask = new Uint8Array(runs[0] * runs[1]);
  let at = 0;
  for (let i = 2; i < runs.length; i += 1) {
    if (i % 2) mask.fill(1, at, at + runs[i]);
    at += runs[i];
  }
  return mask;
}

/** Edges of a mask as an SVG path in a picture 1 wide and 1 high. @param {number[]} runs @returns {string} */
function outline(runs) {
  const [w, h] = runs;
  const mask = unpacked(runs);
  const at = (/** @type {number} */ x, /** @type {number} */ y) => (x < 0 || y < 0 || x >= w || y >= h ? 0 : mask[y * w + x]);
  let path = "";
  for (let y = 0; y <= h; y += 1) {
    for (let x = 0; x <= w; x += 1) {
      if (at(x, y) !== at(x, y - 1) && x < w) path += `M${x} ${y}h1`;
      if (at(x, y) !== at(x - 1, y) && y < h) path += `M${x} ${y}v1`;
    }
  }
  return path;
}

/** What reaches a share of the largest value, and how it lies to the truth.
 * @param {Grid} grid @param {number} share @param {Uint8Array | null} truth */
function cut(grid, share, truth) {
  const { values } = grid;
  let top = 0;
  let peak = 0;
  for (let i = 0; i < values.length; i += 1) if (values[i] > top) { top = values[i]; peak = i; }
  const inside = new Uint8Array(values.length);
  let both = 0;
  let either = 0;
  for (let i = 0; i < values.length; i += 1) {
    inside[i] = top > 0 && values[i] >= share * top ? 1 : 0;
    if (truth) { both += inside[i] & truth[i]; either += inside[i] | truth[i]; }
  }
  return { inside, iou: truth && either ? both / either : null, hit: truth && top > 0 ? Boolean(truth[peak]) : null };
}

/** Ranks from 0, ties sharing theirs. @param {Float32Array} values @returns {Float64Array} */
function ranks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const found = new Float64Array(values.length);
  for (let i = 0; i < order.length;) {
    let j = i;
    while (j < order.length && values[order[j]] === values[order[i]]) j += 1;
    for (let k = i; k < j; k += 1) found[order[k]] = (i + j - 1) / 2;
    i = j;
  }
  return found;
}

/** Spearman's rank correlation; NaN where one of them is flat. @param {Float32Array} a @param {Float32Array} b @returns {number} */
function correlation(a, b) {
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (a.length - 1) / 2;
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i += 1) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xy / Math.sqrt(xx * yy);
}

/** Another map of other size on this one's grid. @param {Grid} grid @param {Grid} like @returns {Float32Array} */
function resampled(grid, like) {
  if (grid.width === like.width && grid.height === like.height) return grid.values;
  const values = new Float32Array(like.width * like.height);
  for (let y = 0; y < like.height; y += 1) {
    const row = Math.floor(((y + 0.5) * grid.height) / like.height) * grid.width;
    for (let x = 0; x < like.width; x += 1) {
      values[y * like.width + x] = grid.values[row + Math.floor(((x + 0.5) * grid.width) / like.width)];
    }
  }
  return values;
}

/** A picture of a - b, grey as maps are, its largest magnitude, and the rank correlation. Each map counts in shares of
 * its own largest value. @param {Grid} a @param {Grid} b */
function differenceOf(a, b) {
  const other = resampled(b, a);
  const values = a.values.map((value, i) => value - other[i]);
  const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const drawn = canvas(a.width, a.height);
  const image = drawn.context.createImageData(a.width, a.height);
  for (let i = 0; i < values.length; i += 1) {
    image.data.fill(Math.round(127.5 * (1 + (top ? values[i] / top : 0))), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  }
  drawn.context.putImageData(image, 0, 0);
  return { element: drawn.element, top, correlation: correlation(a.values, other) };
}

/** Colours of an SVG filter of this page: 256 times red, green, blue. @param {string} id @returns {Uint8ClampedArray} */
function colourTable(id) {
  const found = new Uint8ClampedArray(768);
  all("feFuncR, feFuncG, feFuncB", find(id)).forEach((channel, c) => {
    const given = channel.getAttribute("tableValues").split(" ").map(Number);
    for (let i = 0; i < 256; i += 1) {
      const at = (i / 255) * (given.length - 1);
      const below = Math.min(given.length - 2, Math.floor(at));
      found[3 * i + c] = 255 * (given[below] + (at - below) * (given[below + 1] - given[below]));
    }
  });
  return found;
}
