// The lines: raw rows faint, running means above; forks where they leave their parents; what is looked at and pointed at.

const RAW_LINES = 8;  // beyond so many lines only the running means are drawn

// Says how many rows fall on a pixel at most.
function paintLines(ctx, scene, box) {
  const {branches, shownTerms, emphasised} = scene, {left, top, width, height, from, to, size} = box;
  const many = shownTerms.length * branches.length > RAW_LINES;
  let squeezed = 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top - 1, width, height + 2);
  ctx.clip();
  for (const strong of many ? [true] : [false, true]) {
    for (const branch of branches) {
      // The common past stands once: a fork's line begins where it leaves the one it came from.
      const first = rowFrom(branch, Math.max(from, branch.shared)), start = Math.max(first - 1, branch.shared ? rowFrom(branch, branch.shared) : 0);
      const stop = Math.min(rowFrom(branch, to + 1e-6) + 1, branch.length);
      for (const term of shownTerms) {
        const column = branch.terms.indexOf(term.name) + 1;
        if (!column) continue;
        const values = strong ? meanOf(branch, column, scene.film.about.window) : branch.columns[column];
        ctx.strokeStyle = scene.colourOf(term, branch);
        const dim = emphasised && emphasised !== term.name;
        ctx.globalAlpha = (strong ? 1 : 0.28) * (dim ? 0.2 : 1);
        ctx.lineWidth = strong ? (emphasised === term.name ? 2.6 : 1.7) * size / 13 : 1;
        ctx.setLineDash(strong ? scene.dashOf(branch) : []);
        squeezed = Math.max(squeezed, (stop - start) / width);
        branch.stages.forEach(([step], i) => {  // a line ends with its stage
          const a = Math.max(rowFrom(branch, step), start), b = Math.min(branch.stages[i + 1] ? rowFrom(branch, branch.stages[i + 1][0]) : stop, stop);
          if (a < b) strokeRows(ctx, branch.columns[0], values, a, b, box, squeezed > 3);
        });
      }
    }
  }
  ctx.restore();
  return squeezed;
}

// A line; where many rows fall on a pixel it runs through the least and greatest of each. NaN ends it.
function strokeRows(ctx, steps, values, start, stop, {X, Y, y}, crowded) {
  ctx.beginPath();
  let open = false;
  const point = row => {
    const value = values[row], there = Number.isFinite(value) && (value > 0 || !y.log);
    if (there) ctx[open ? "lineTo" : "moveTo"](X(steps[row]), Y(value));
    open = there;
  };
  for (let row = start, next; row < stop; row = next) {
    next = row + 1;
    if (!crowded) { point(row); continue; }
    const pixel = Math.floor(X(steps[row]));
    let low = -1, high = -1, hole = false;
    for (next = row; next < stop && Math.floor(X(steps[next])) === pixel; next++) {
      if (Number.isNaN(values[next])) { hole = true; continue; }
      if (low < 0 || values[next] < values[low]) low = next;
      if (high < 0 || values[next] > values[high]) high = next;
    }
    if (low >= 0) point(Math.min(low, high));
    if (low !== high) point(Math.max(low, high));
    if (hole) open = false;
  }
  ctx.stroke();
}

// Where branches left others: a dotted line with a fork at its foot, drawn as not every font has the sign.
function paintForks(ctx, scene, {top, height, from, to, type, X}) {
  const spots = new Set(), foot = top + height;
  for (const branch of scene.branches) {
    if (!branch.fork || branch.fork[1] < from || branch.fork[1] > to || !scene.several) continue;
    const x = X(branch.fork[1]), spot = Math.round(x / 12);
    ctx.strokeStyle = scene.seen(branch.colour);
    ctx.globalAlpha = 0.8;
    strokeLine(ctx, [x, top], [x, foot], [1, 3]);
    ctx.globalAlpha = 1;
    const low = foot - 2 - (spots.has(spot) ? type : 0), arm = type / 2;  // above another one that is near
    spots.add(spot);
    ctx.lineWidth = 1.6;
    ctx.beginPath();
    ctx.moveTo(x, low);
    ctx.lineTo(x, low - arm);
    ctx.lineTo(x - arm, low - 2 * arm);
    ctx.moveTo(x, low - arm);
    ctx.lineTo(x + arm, low - 2 * arm);
    ctx.stroke();
  }
}

// The step that is looked at, the one under the pointer with its values, and the steps that are being zoomed to.
function paintCursor(ctx, scene) {
  const {box, time, pointed, dragged, root} = scene, {left, top, width, height, from, to, X} = box;
  const accent = styleOf(root, "--ka-accent"), foot = top + height;
  const rule = (step, colour, dash) => {
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5;
    strokeLine(ctx, [X(step), top - 2], [X(step), foot], dash);
  };
  if (time !== null && time >= from && time <= to) {
    rule(time, accent);
    ctx.fillStyle = accent;
    trace(ctx, [X(time) - 5, foot + 6], [X(time) + 5, foot + 6], [X(time), foot]);
    ctx.fill();
  }
  if (pointed !== null) {
    if (pointed >= from && pointed <= to) rule(pointed, styleOf(root, "--ka-quiet"), [3, 3]);
    paintPointed(ctx, scene);
  }
  if (dragged?.zooming) {
    ctx.fillStyle = accent;
    ctx.globalAlpha = 0.2;
    ctx.fillRect(Math.min(dragged.from, dragged.to), top, Math.abs(dragged.to - dragged.from), height);
    ctx.globalAlpha = 1;
  }
}

function paintPointed(ctx, scene) {
  const {pointed, shownTerms, box: {X, Y, y}} = scene;
  for (const branch of scene.branches) {
    const row = rowNear(branch, pointed);
    if (row < 0 || Math.abs(branch.columns[0][row] - pointed) > (branch.thinned ? Infinity : 0)) continue;
    for (const term of shownTerms) {
      const column = branch.terms.indexOf(term.name) + 1, value = branch.columns[column]?.[row];
      if (!column || !Number.isFinite(value) || (y.log && value <= 0)) continue;
      ctx.fillStyle = scene.colourOf(term, branch);
      ctx.beginPath();
      ctx.arc(X(branch.columns[0][row]), Y(value), 3, 0, 2 * Math.PI);
      ctx.fill();
    }
  }
}
