// The rows of all branches as they came from Python, and what is read from them: a row at a step, a running mean.

// What a model's views share: the rows that came so far.
const RECORDS = new WeakMap();

function recordsOf(model) {
  let records = RECORDS.get(model);
  const lines = model.get("lines");
  if (records?.version === lines.version) return records;
  const data = floats(model.get("data"));
  if (data[0] !== lines.version) return records ?? {version: -1, branches: []};  // the other trait is still on its way
  records = {version: lines.version, branches: []};
  let place = 1;
  for (const branch of lines.branches) {
    const made = {...branch, columns: []};
    for (let i = 0; i < branch.terms.length + 1; i++) {
      made.columns.push(data.slice(place, place + branch.kept));
      place += branch.kept;
    }
    made.length = branch.kept;
    made.thinned = branch.kept < branch.count;
    made.means = [];
    records.branches.push(made);
  }
  RECORDS.set(model, records);
  return records;
}

// New rows of a playing run. False where rows between are missing.
function appended(records, message, buffers) {
  if (message.version !== records.version) return false;
  if (records.branches.some((branch, i) => branch.count < message.starts[i])) return false;
  records.branches.forEach((branch, i) => {
    const values = floats(buffers[i]), fresh = message.counts[i] - message.starts[i], skip = branch.count - message.starts[i];
    const more = fresh - skip;
    branch.shared = message.shared[i];
    if (more <= 0) return;
    branch.columns = branch.columns.map((column, c) => {
      let grown = column;
      if (column.length < branch.length + more) {
        grown = new Float32Array(Math.max(2 * column.length, branch.length + more, 256));
        grown.set(column.subarray(0, branch.length));
      }
      grown.set(values.subarray(c * fresh + skip, (c + 1) * fresh), branch.length);
      return grown;
    });
    branch.length += more;
    branch.count = message.counts[i];
    branch.means = [];
  });
  return true;
}

// The first row from a step on.
function rowFrom(branch, step) {
  const steps = branch.columns[0];
  let low = 0, high = branch.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The row whose step lies nearest; -1 where there is none.
function rowNear(branch, step) {
  const row = rowFrom(branch, step), steps = branch.columns[0];
  if (!branch.length) return -1;
  if (row >= branch.length) return branch.length - 1;
  return row > 0 && step - steps[row - 1] < steps[row] - step ? row - 1 : row;
}

// Running mean over `window` rows, shorter at the ends of a stage: what one stage did must not leak into the next.
function meanOf(branch, column, window) {
  if (branch.means[column]) return branch.means[column];
  const values = branch.columns[column], steps = branch.columns[0], n = branch.length;
  const out = new Float32Array(n).fill(NaN), half = window >> 1;
  const starts = branch.stages.map(([step]) => rowFrom(branch, step));
  for (let s = 0; s < starts.length; s++) {
    const from = starts[s], to = starts[s + 1] ?? n;
    let sum = 0, count = 0;
    const add = (row, sign) => { if (row >= from && row < to && !Number.isNaN(values[row])) { sum += sign * values[row]; count += sign; } };
    for (let row = from; row < Math.min(from + half, to); row++) add(row, 1);
    for (let row = from; row < to; row++) {
      add(row + half, 1);
      add(row - half - 1, -1);
      if (!Number.isNaN(values[row]) && count > 0) out[row] = sum / count;
    }
  }
  branch.means[column] = out;
  return out;
}
