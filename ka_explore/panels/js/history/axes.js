// The axes: which steps and values fill the picture, their ticks, and the stages' names above.

const MARGIN = {left: 50, right: 10, top: 18, bottom: 20};

// 1, 2 or 5 times a power of ten, at least (or at most) a value
function nice(value, down = false) {
  const power = 10 ** Math.floor(Math.log10(value)), parts = [1, 2, 5, 10];
  const share = value / power * (down ? 1 + 1e-9 : 1 - 1e-9);
  return power * (down ? [...parts].reverse().find(part => part <= share) ?? 1 : parts.find(part => part >= share) ?? 10);
}

// The first and last step of the picture.
function spanOf({zoom, branches, last}) {
  if (zoom) return zoom;
  const total = Math.max(1, ...branches.map(branch => branch.total));
  return [0, Math.max(Math.min(total, last < 20 ? 20 : nice(last)), last, 1)];
}

// Least and greatest of what is shown; logarithmic where nothing is below zero and something above.
function rangeOf({branches, shownTerms}, from, to) {
  let low = Infinity, high = -Infinity, above = Infinity;
  for (const branch of branches) {
    const start = rowFrom(branch, from), stop = rowFrom(branch, to + 1e-6);
    for (const term of shownTerms) {
      const column = branch.terms.indexOf(term.name) + 1, values = branch.columns[column];
      if (!column) continue;
      for (let row = start; row < stop; row++) {
        const value = values[row];
        if (!(Math.abs(value) < Infinity)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        if (value > 0 && value < above) above = value;
      }
    }
  }
  if (low > high) return {log: false, low: 0, high: 1, empty: true};
  if (low >= 0 && high > 0) {
    const least = nice(Math.max(above, high * 1e-9), true), most = nice(high);
    return {log: true, low: least, high: most > least ? most : least * 10};
  }
  const reach = high - low || Math.abs(high) || 1, pad = nice(reach / 10);
  return {log: false, low: Math.floor(low / pad) * pad, high: Math.ceil(high / pad) * pad || pad};
}

// Where the picture lies on a canvas, and which step and value is where: X(step), Y(value). Null where there is no room.
// `size` is that of the panel's letters, `type` that of the picture's, in pixels.
function axesOf(scene, canvasWidth, canvasHeight, size) {
  const [left, top, bottom] = [MARGIN.left, MARGIN.top, MARGIN.bottom].map(side => Math.round(side * size / 13));
  const width = canvasWidth - left - MARGIN.right, height = canvasHeight - top - bottom;
  if (width < 20 || height < 20) return null;
  const [from, to] = spanOf(scene), y = rangeOf(scene, from, to);
  const X = step => left + (step - from) / (to - from) * width;
  const rise = value => y.log ? Math.log(value / y.low) / Math.log(y.high / y.low) : (value - y.low) / (y.high - y.low);
  const Y = value => top + (1 - Math.max(rise(value), -0.02)) * height;
  return {left, top, width, height, from, to, y, X, Y, size, type: Math.round(0.85 * size)};
}

// The values that may have a tick, from the least.
function tickValues({y, height, type}) {
  const values = [];
  if (y.log) {
    const decades = Math.log10(y.high / y.low), parts = decades > 4 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(y.low)); power <= Math.log10(y.high) + 1e-9; power++)
      for (const part of parts) values.push(part * 10 ** power);
    return values.filter(value => value >= y.low * (1 - 1e-9) && value <= y.high * (1 + 1e-9) + 1e-12);
  }
  const step = nice((y.high - y.low) / Math.max(height / (4 * type), 2));
  for (let value = Math.ceil(y.low / step - 1e-9) * step; value <= y.high + 1e-9 * step; value += step) values.push(Math.abs(value) < 1e-9 * step ? 0 : value);
  return values;
}

function paintValues(ctx, box, line) {
  const {left, width, type, Y} = box;
  ctx.strokeStyle = line;
  ctx.lineWidth = 1;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  let lowest = Infinity;
  for (const value of tickValues(box)) {
    const at = Y(value), text = value === 0 ? "0" : Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
    if (lowest - at < 1.3 * type) continue;
    lowest = at;
    ctx.globalAlpha = 0.5;
    strokeLine(ctx, [left, Math.round(at) + 0.5], [left + width, Math.round(at) + 0.5]);
    ctx.globalAlpha = 1;
    ctx.fillText(text, left - 5, at);
  }
}

function paintSteps(ctx, {left, top, width, height, from, to, size, X}) {
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  const step = Math.max(nice((to - from) / Math.max(width / (6 * size), 2)), 1), below = top + height + 4;
  for (let value = Math.ceil(from / step) * step; value <= to + 1e-9; value += step) {
    const text = spaced(value), half = ctx.measureText(text).width / 2;
    if (X(value) + half > left + width - (value + step > to ? ctx.measureText("steps").width + 8 : 0) + MARGIN.right) continue;
    ctx.fillText(text, X(value), below);
  }
  ctx.textAlign = "right";
  ctx.fillText("step", left + width + MARGIN.right - 2, below);
}

// Where stages begin, with their names above; names that would meet are left out, the line stays.
function paintStages(ctx, branches, {left, top, width, height, from, to, X}) {
  const begins = new Map();
  for (const {stages, total} of branches) {
    stages.forEach(([step, name], i) => {
      const key = `${step} ${name}`, next = stages[i + 1]?.[0] ?? total + 1;
      if (!begins.has(key)) begins.set(key, {step, name, next, many: stages.length > 1});
    });
  }
  ctx.strokeStyle = ctx.fillStyle;
  ctx.textBaseline = "bottom";
  ctx.textAlign = "left";
  let free = -Infinity;
  for (const {step, name, next, many} of [...begins.values()].sort((a, b) => a.step - b.step)) {
    if (!many || step > to || next < from) continue;
    if (step > 1 && step >= from) {
      const border = Math.round(X(step - 0.5)) + 0.5;
      strokeLine(ctx, [border, top - 3], [border, top + height], [2, 3]);
    }
    const at = Math.max(X(step), left) + 2, room = Math.min(X(next), left + width) - at - 4;
    const text = fitted(ctx, name, room);
    if (at < free || !text) continue;
    ctx.fillText(text, at, top - 3);
    free = at + ctx.measureText(text).width + 6;
  }
}
