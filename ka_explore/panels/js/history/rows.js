// The rows of all branches as they came from Python, and what is read from them: a row at a step, a running mean.

// Lay the rows that came behind those that are there: all views of a model share a branch's `columns`.
function takeRows(branch) {
  const [frame] = branch.frames;
  if (!frame || frame === branch.taken) return;
  const {rows, start, step} = frame, fresh = rows.shape[1], more = start ? Math.max(step - branch.count, 0) : fresh;
  branch.columns = Array.from({length: rows.shape[0]}, (_, c) => {
    const values = rows.subarray((c + 1) * fresh - more, (c + 1) * fresh);
    if (!start) return values;
    let column = branch.columns[c];
    if (column.length < branch.length + values.length) {
      const grown = new Float32Array(Math.max(2 * column.length, branch.length + values.length, 256));
      grown.set(column.subarray(0, branch.length));
      column = grown;
    }
    column.set(values, branch.length);
    return column;
  });
  branch.length = (start ? branch.length : 0) + more;
  Object.assign(branch, {taken: frame, count: Math.max(step, start && branch.count), thinned: branch.length < step, means: []});
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
  if (row >= branch.length) return branch.length - 1;
  return row > 0 && step - steps[row - 1] < steps[row] - step ? row - 1 : row;
}

// Running mean over `window` rows, shorter at the ends of a stage: what one stage did must not leak into the next.
function meanOf(branch, column, window) {
  if (branch.means[column]) return branch.means[column];
  const values = branch.columns[column], steps = branch.columns[0], n = branch.length;
  const out = new Float32Array(n).fill(NaN), half = window >> 1;
  const starts = branch.stages.map(([step]) => rowFrom(branch, step));
  starts.forEach((from, s) => {
    const to = starts[s + 1] ?? n;
    let sum = 0, count = 0;
    const add = (row, sign) => { if (row >= from && row < to && !Number.isNaN(values[row])) { sum += sign * values[row]; count += sign; } };
    for (let row = from; row < Math.min(from + half, to); row++) add(row, 1);
    for (let row = from; row < to; row++) {
      add(row + half, 1);
      add(row - half - 1, -1);
      if (!Number.isNaN(values[row]) && count > 0) out[row] = sum / count;
    }
  });
  return (branch.means[column] = out);
}
