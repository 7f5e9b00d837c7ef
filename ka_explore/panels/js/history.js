// The history: terms of the loss over the steps, a log axis, forks over their parents.
// All rows lie here, so zooming, pointing and scrubbing ask Python for nothing.

const DASHES = [[], [7, 4], [2, 3], [8, 3, 2, 3]];
const MARGIN = {left: 50, right: 10, top: 18, bottom: 20};
const RAW_LINES = 8;  // beyond so many lines only the running means are drawn

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

// 1, 2 or 5 times a power of ten, at least (or at most) a value
function nice(value, down = false) {
  const power = 10 ** Math.floor(Math.log10(value)), parts = [1, 2, 5, 10];
  const share = value / power * (down ? 1 + 1e-9 : 1 - 1e-9);
  return power * (down ? [...parts].reverse().find(part => part <= share) ?? 1 : parts.find(part => part >= share) ?? 10);
}

// A value in at most `digits` + 3 letters, so that columns keep their widths.
function exactly(value, digits) {
  if (value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return size >= 10 ** digits || (size !== 0 && size < 0.01) ? value.toExponential(digits > 3 ? 2 : 1) : String(Number(value.toPrecision(digits)));
}

export default {
  render({model, el}) {
    const desk = deskOf(model);
    const {root, undo, end} = panelIn(el, "history", "history: terms of the loss over the steps", desk);
    const head = make("div", root, {class: "ka-history-head"});
    make("span", head, {class: "ka-head"}, "terms of the loss");
    const at = make("output", head, {class: "ka-numbers ka-history-at", "aria-live": "off"});
    const note = make("span", head, {class: "ka-quiet ka-small ka-history-note"});
    const whole = button(head, "↔ all", "show all steps again (double click)", () => { zoom = null; draw(); }, {class: "ka-history-whole"});
    const body = make("div", root, {class: "ka-history-body"});
    const plot = make("div", body, {class: "ka-history-plot"});
    const side = make("div", body, {class: "ka-history-side"});
    const board = sharpCanvas(plot, paint, {"aria-hidden": "true"});
    const over = sharpCanvas(plot, paintOver, {  // what follows the pointer and the time, so that lines are drawn once
      class: "ka-history-over", tabindex: 0, role: "slider", "aria-label": "step that all views show; arrows move it", "aria-valuemin": 0,
      title: "click or drag: look at this step · shift and drag: zoom · double click: all steps",
    });
    const table = make("table", side, {class: "ka-history-legend ka-numbers ka-small"});
    undo.push(board.end, over.end);

    const hidden = new Set();
    let records = recordsOf(model), zoom = null, time = null, pointed = null, emphasised = null, dragged = null;
    let cells = [], shape = "", box = null;

    const lines = () => model.get("lines");
    const shownTerms = () => lines().terms.filter(term => !hidden.has(term.name));
    const several = () => records.branches.length > 1;
    const front = () => styleOf(root, "--ka-front") || "#222222";
    const seen = colour => colour === "#222222" ? front() : colour;
    const last = () => Math.max(0, ...records.branches.map(branch => branch.length ? branch.columns[0][branch.length - 1] : 0));
    // One term of several branches: the branches' colours. Else a colour a term and a dash a branch.
    const colourOf = (term, branch) => seen(several() && shownTerms().length === 1 ? branch.colour : term.colour);
    const dashOf = branch => several() ? DASHES[branch.place % DASHES.length] : [];

    // The legend: a toggle a term, a column of values a branch

    function legend() {
      const now = JSON.stringify([lines().terms, records.branches.map(branch => [branch.name, branch.place])]);
      if (now === shape) return;
      shape = now;
      const focused = side.contains(document.activeElement) ? document.activeElement.dataset.term : null;
      table.textContent = "";
      make("caption", table, {class: "ka-hidden"}, "values at the step that is looked at; a button a term shows or hides it");
      table.classList.toggle("ka-history-many", records.branches.length > 2);
      if (several()) {
        const row = make("tr", make("thead", table));
        make("td", row);
        for (const branch of records.branches) {
          const cell = make("th", row, {scope: "col", title: branch.name});
          swatch(cell, branch.colour, branch);
          make("span", cell, {class: "ka-history-name"}, branch.name);
        }
      }
      const rows = make("tbody", table);
      cells = lines().terms.map(term => {
        const row = make("tr", rows);
        const toggle = button(make("th", row, {scope: "row"}), "", `show or hide ${term.name}; double click: it alone`, event => {
          if (event.detail === 2) alone(term.name);
          else if (hidden.has(term.name)) hidden.delete(term.name);
          else hidden.add(term.name);
          marked();
          draw();
        }, {class: "ka-history-term", "data-term": term.name});
        swatch(toggle, term.colour, null);
        make("span", toggle, {class: "ka-history-name"}, term.name);
        row.addEventListener("pointerenter", () => { emphasised = term.name; draw(); });
        row.addEventListener("pointerleave", () => { emphasised = null; draw(); });
        if (term.name === focused) toggle.focus();
        return {term, toggle, row, values: records.branches.map(() => make("td", row))};
      });
      marked();
    }

    function alone(name) {
      const others = lines().terms.map(term => term.name).filter(other => other !== name);
      const was = others.every(other => hidden.has(other));
      hidden.clear();
      if (!was) others.forEach(other => hidden.add(other));
    }

    function marked() {
      for (const {term, toggle, row} of cells) {
        toggle.setAttribute("aria-pressed", String(!hidden.has(term.name)));
        row.classList.toggle("ka-history-off", hidden.has(term.name));
      }
    }

    function swatch(into, colour, branch) {
      const made = sharpCanvas(into, (ctx, width, height) => {
        ctx.strokeStyle = seen(colour);
        ctx.lineWidth = 2.2;
        ctx.setLineDash(branch ? dashOf(branch) : []);
        ctx.beginPath();
        ctx.moveTo(0, height / 2);
        ctx.lineTo(width, height / 2);
        ctx.stroke();
      }, {class: "ka-history-swatch", "aria-hidden": "true"});
      undo.push(made.end);
      root.addEventListener("ka-theme", made.soon);
    }

    // The step whose values are told: under the pointer, or the one that is looked at.
    function told() {
      const step = pointed ?? Math.min(time ?? last(), last());  // rows come a little later than the player's step
      at.textContent = `step ${spaced(Math.round(step))}`;
      at.classList.toggle("ka-history-pointed", pointed !== null);
      for (const {term, values} of cells) {
        records.branches.forEach((branch, i) => {
          const column = branch.terms.indexOf(term.name), row = rowNear(branch, Math.max(step, 1));
          const there = row >= 0 && column >= 0 && (branch.thinned || branch.columns[0][row] === Math.max(Math.round(step), 1));
          const value = there ? branch.columns[column + 1][row] : NaN;
          const text = exactly(value, records.branches.length > 2 ? 3 : 4);  // the title has all digits
          if (values[i].textContent !== text) values[i].textContent = text;
          values[i].dataset.value = String(value);
          values[i].dataset.step = there ? String(branch.columns[0][row]) : "";
          values[i].title = there ? `${branch.name}, ${term.name}, step ${branch.columns[0][row]}: ${value}` : `${branch.name} has no ${term.name} at this step`;
        });
      }
      over.canvas.setAttribute("aria-valuenow", String(Math.round(time ?? last())));
      over.canvas.setAttribute("aria-valuemax", String(last()));
      over.canvas.setAttribute("aria-valuetext", `step ${Math.round(time ?? last())}`);
    }

    // The picture

    function span() {
      if (zoom) return zoom;
      const total = Math.max(1, ...records.branches.map(branch => branch.total)), there = last();
      return [0, Math.max(Math.min(total, there < 20 ? 20 : nice(there)), there, 1)];
    }

    // Least and greatest of what is shown; logarithmic where nothing is below zero and something above.
    function range(from, to) {
      let low = Infinity, high = -Infinity, above = Infinity;
      for (const branch of records.branches) {
        const a = rowFrom(branch, from), b = rowFrom(branch, to + 1e-6);
        for (const term of shownTerms()) {
          const values = branch.columns[branch.terms.indexOf(term.name) + 1];
          if (!branch.terms.includes(term.name)) continue;
          for (let row = a; row < b; row++) {
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
        const least = Math.max(above, high * 1e-9);
        const a = nice(least, true), b = nice(high);
        return {log: true, low: a, high: b > a ? b : a * 10};
      }
      const reach = high - low || Math.abs(high) || 1, pad = nice(reach / 10);
      return {log: false, low: Math.floor(low / pad) * pad, high: Math.ceil(high / pad) * pad || pad};
    }

    function paint(ctx, width, height) {
      const size = parseFloat(getComputedStyle(root).fontSize) || 13, type = Math.round(0.85 * size);
      const left = Math.round(MARGIN.left * size / 13), bottom = Math.round(MARGIN.bottom * size / 13), top = Math.round(MARGIN.top * size / 13);
      const [from, to] = span(), y = range(from, to);
      const inner = {left, top, width: width - left - MARGIN.right, height: height - top - bottom};
      if (inner.width < 20 || inner.height < 20) return;
      const X = step => inner.left + (step - from) / (to - from) * inner.width;
      const rise = value => y.log ? Math.log(value / y.low) / Math.log(y.high / y.low) : (value - y.low) / (y.high - y.low);
      const Y = value => inner.top + (1 - Math.max(rise(value), -0.02)) * inner.height;
      box = {...inner, from, to, y, X, Y};
      const quiet = styleOf(root, "--ka-quiet"), line = styleOf(root, "--ka-line");
      ctx.font = `${type}px ${getComputedStyle(root).fontFamily}`;

      ticks(ctx, inner, y, X, Y, from, to, quiet, line, type, size);
      stages(ctx, inner, X, from, to, quiet, type);

      const many = shownTerms().length * records.branches.length;
      ctx.save();
      ctx.beginPath();
      ctx.rect(inner.left, inner.top - 1, inner.width, inner.height + 2);
      ctx.clip();
      let squeezed = 1;
      for (const strong of [false, true]) {
        if (!strong && many > RAW_LINES) continue;
        for (const branch of records.branches) {
          // The common past stands once: a fork's line begins where it leaves the one it came from.
          const first = rowFrom(branch, Math.max(from, branch.shared)), start = Math.max(first - 1, branch.shared ? rowFrom(branch, branch.shared) : 0);
          const stop = Math.min(rowFrom(branch, to + 1e-6) + 1, branch.length);
          for (const term of shownTerms()) {
            const column = branch.terms.indexOf(term.name) + 1;
            if (!column) continue;
            const values = strong ? meanOf(branch, column, lines().window) : branch.columns[column];
            ctx.strokeStyle = colourOf(term, branch);
            const dim = emphasised && emphasised !== term.name;
            ctx.globalAlpha = (strong ? 1 : 0.28) * (dim ? 0.2 : 1);
            ctx.lineWidth = strong ? (emphasised === term.name ? 2.6 : 1.7) * size / 13 : 1;
            ctx.setLineDash(strong ? dashOf(branch) : []);
            squeezed = Math.max(squeezed, (stop - start) / inner.width);
            branch.stages.forEach(([step], i) => {  // a line ends with its stage
              const a = Math.max(rowFrom(branch, step), start), b = Math.min(branch.stages[i + 1] ? rowFrom(branch, branch.stages[i + 1][0]) : stop, stop);
              if (a < b) stroke(ctx, branch.columns[0], values, a, b, X, Y, squeezed > 3);
            });
          }
        }
      }
      ctx.restore();
      ctx.globalAlpha = 1;
      forks(ctx, inner, X, from, to, type);
      over.soon();
      const said = [];
      if (y.empty) said.push(last() ? "nothing is chosen, or no term has a value" : "no step yet: press play");
      else {
        if (y.log) said.push("log axis");
        said.push(`mean of ${lines().window} steps${many > RAW_LINES ? "" : ", raw faint"}`);
        if (squeezed > 4) said.push(`least and greatest of ~${Math.round(squeezed)} steps a pixel`);
        if (records.branches.some(branch => branch.thinned)) said.push("of a long history only extremes are kept");
      }
      note.textContent = note.title = said.join(" · ");
      whole.hidden = !zoom;
    }

    function paintOver(ctx) {
      if (!box) return;
      cursor(ctx, box, box.X, box.Y, box.y, styleOf(root, "--ka-quiet"));
      if (dragged?.zooming) {
        ctx.fillStyle = styleOf(root, "--ka-accent");
        ctx.globalAlpha = 0.2;
        ctx.fillRect(Math.min(dragged.from, dragged.to), box.top, Math.abs(dragged.to - dragged.from), box.height);
        ctx.globalAlpha = 1;
      }
    }

    // A line; where many rows fall on a pixel it runs through the least and greatest of each. NaN ends it.
    function stroke(ctx, steps, values, start, stop, X, Y, crowded) {
      ctx.beginPath();
      let open = false;
      const point = row => {
        const value = values[row];
        if (!Number.isFinite(value) || (box.y.log && value <= 0)) { open = false; return; }
        if (open) ctx.lineTo(X(steps[row]), Y(value));
        else ctx.moveTo(X(steps[row]), Y(value));
        open = true;
      };
      if (!crowded) {
        for (let row = start; row < stop; row++) {
          const value = values[row];
          if (Number.isNaN(value) && !open) continue;
          point(row);
        }
      } else {
        let row = start;
        while (row < stop) {
          const pixel = Math.floor(X(steps[row]));
          let low = -1, high = -1, hole = false, next = row;
          for (; next < stop && Math.floor(X(steps[next])) === pixel; next++) {
            if (Number.isNaN(values[next])) { hole = true; continue; }
            if (low < 0 || values[next] < values[low]) low = next;
            if (high < 0 || values[next] > values[high]) high = next;
          }
          if (low < 0) open = false;
          else {
            point(Math.min(low, high));
            if (low !== high) point(Math.max(low, high));
            if (hole) open = false;
          }
          row = next;
        }
      }
      ctx.stroke();
    }

    function ticks(ctx, inner, y, X, Y, from, to, quiet, line, type, size) {
      ctx.fillStyle = quiet;
      ctx.strokeStyle = line;
      ctx.lineWidth = 1;
      ctx.setLineDash([]);
      ctx.textBaseline = "middle";
      ctx.textAlign = "right";
      const values = [];
      if (y.log) {
        const decades = Math.log10(y.high / y.low), parts = decades > 4 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 5];
        for (let power = Math.floor(Math.log10(y.low)); power <= Math.log10(y.high) + 1e-9; power++)
          for (const part of parts) values.push(part * 10 ** power);
      } else {
        const step = nice((y.high - y.low) / Math.max(inner.height / (4 * type), 2));
        for (let value = Math.ceil(y.low / step - 1e-9) * step; value <= y.high + 1e-9 * step; value += step) values.push(Math.abs(value) < 1e-9 * step ? 0 : value);
      }
      let lowest = Infinity;
      for (const value of values) {
        if (value < y.low * (y.log ? 1 - 1e-9 : -Infinity) || value > y.high * (y.high > 0 ? 1 + 1e-9 : 1) + 1e-12) continue;
        const place = Y(value);
        if (lowest - place < 1.3 * type) continue;
        lowest = place;
        ctx.globalAlpha = 0.5;
        ctx.beginPath();
        ctx.moveTo(inner.left, Math.round(place) + 0.5);
        ctx.lineTo(inner.left + inner.width, Math.round(place) + 0.5);
        ctx.stroke();
        ctx.globalAlpha = 1;
        ctx.fillText(value === 0 ? "0" : Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(3))), inner.left - 5, place);
      }
      ctx.textAlign = "center";
      ctx.textBaseline = "top";
      const step = Math.max(nice((to - from) / Math.max(inner.width / (6 * size), 2)), 1);
      const below = inner.top + inner.height + 4;
      for (let value = Math.ceil(from / step) * step; value <= to + 1e-9; value += step) {
        const text = spaced(value), half = ctx.measureText(text).width / 2;
        if (X(value) + half > inner.left + inner.width - (value + step > to ? ctx.measureText("steps").width + 8 : 0) + MARGIN.right) continue;
        ctx.fillText(text, X(value), below);
      }
      ctx.textAlign = "right";
      ctx.fillText("step", inner.left + inner.width + MARGIN.right - 2, below);
    }

    // Where stages begin, with their names above; names that would meet are left out, the line stays.
    function stages(ctx, inner, X, from, to, quiet, type) {
      const begins = new Map();
      for (const branch of records.branches) {
        branch.stages.forEach(([step, name], i) => {
          const next = branch.stages[i + 1]?.[0] ?? branch.total + 1;
          const key = `${step} ${name}`;
          if (!begins.has(key)) begins.set(key, {step, name, next, many: branch.stages.length > 1});
        });
      }
      ctx.fillStyle = ctx.strokeStyle = quiet;
      ctx.textBaseline = "bottom";
      ctx.textAlign = "left";
      let free = -Infinity;
      for (const {step, name, next, many} of [...begins.values()].sort((a, b) => a.step - b.step)) {
        if (!many || step > to || next < from) continue;
        if (step > 1 && step >= from) {
          ctx.setLineDash([2, 3]);
          ctx.beginPath();
          ctx.moveTo(Math.round(X(step - 0.5)) + 0.5, inner.top - 3);
          ctx.lineTo(Math.round(X(step - 0.5)) + 0.5, inner.top + inner.height);
          ctx.stroke();
          ctx.setLineDash([]);
        }
        const place = Math.max(X(step), inner.left) + 2, room = Math.min(X(next), inner.left + inner.width) - place - 4;
        if (place < free) continue;
        let text = name;
        while (text.length > 1 && ctx.measureText(text === name ? text : text + "…").width > room) text = text.slice(0, -1);
        if (text.length < Math.min(name.length, 3)) continue;
        ctx.fillText(text === name ? text : text + "…", place, inner.top - 3);
        free = place + ctx.measureText(text).width + 6;
      }
    }

    function forks(ctx, inner, X, from, to, type) {
      const places = new Set();
      for (const branch of records.branches) {
        if (!branch.fork || branch.fork[1] < from || branch.fork[1] > to || !several()) continue;
        const x = X(branch.fork[1]);
        ctx.strokeStyle = ctx.fillStyle = seen(branch.colour);
        ctx.globalAlpha = 0.8;
        ctx.setLineDash([1, 3]);
        ctx.beginPath();
        ctx.moveTo(x, inner.top);
        ctx.lineTo(x, inner.top + inner.height);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.globalAlpha = 1;
        const lift = places.has(Math.round(x / 12)) ? 2 * type : type;
        places.add(Math.round(x / 12));
        // a fork, drawn: not every font has the sign
        const foot = inner.top + inner.height - 2 - (lift - type), arm = type / 2;
        ctx.lineWidth = 1.6;
        ctx.beginPath();
        ctx.moveTo(x, foot);
        ctx.lineTo(x, foot - arm);
        ctx.lineTo(x - arm, foot - 2 * arm);
        ctx.moveTo(x, foot - arm);
        ctx.lineTo(x + arm, foot - 2 * arm);
        ctx.stroke();
      }
    }

    function cursor(ctx, inner, X, Y, y, quiet) {
      const rule = (step, colour, dash, alpha) => {
        if (step === null || step < box.from || step > box.to) return;
        ctx.strokeStyle = colour;
        ctx.globalAlpha = alpha;
        ctx.lineWidth = 1.5;
        ctx.setLineDash(dash);
        ctx.beginPath();
        ctx.moveTo(X(step), inner.top - 2);
        ctx.lineTo(X(step), inner.top + inner.height);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.globalAlpha = 1;
      };
      const accent = styleOf(root, "--ka-accent");
      rule(time, accent, [], 1);
      if (time !== null && time >= box.from && time <= box.to) {
        ctx.fillStyle = accent;
        ctx.beginPath();
        ctx.moveTo(X(time) - 5, inner.top + inner.height + 6);
        ctx.lineTo(X(time) + 5, inner.top + inner.height + 6);
        ctx.lineTo(X(time), inner.top + inner.height);
        ctx.fill();
      }
      if (pointed === null) return;
      rule(pointed, quiet, [3, 3], 1);
      for (const branch of records.branches) {
        const row = rowNear(branch, pointed);
        if (row < 0 || Math.abs(branch.columns[0][row] - pointed) > (branch.thinned ? Infinity : 0)) continue;
        for (const term of shownTerms()) {
          const column = branch.terms.indexOf(term.name) + 1, value = branch.columns[column]?.[row];
          if (!column || !Number.isFinite(value) || (y.log && value <= 0)) continue;
          ctx.fillStyle = colourOf(term, branch);
          ctx.beginPath();
          ctx.arc(X(branch.columns[0][row]), Y(value), 3, 0, 2 * Math.PI);
          ctx.fill();
        }
      }
    }

    // Pointer and keys

    const stepAt = x => Math.min(Math.max(Math.round(box.from + (x - box.left) / box.width * (box.to - box.from)), 0), last());
    const looked = (step, moving) => desk.emit("time", {step, by: "history", moving});

    over.canvas.addEventListener("pointermove", event => {
      if (!box) return;
      if (dragged?.zooming) dragged.to = Math.min(Math.max(event.offsetX, box.left), box.left + box.width);
      else {
        pointed = Math.max(stepAt(event.offsetX), Math.min(1, last()));
        if (dragged) looked(stepAt(event.offsetX), true);
      }
      follow();
    });
    over.canvas.addEventListener("pointerleave", () => { pointed = null; follow(); });
    over.canvas.addEventListener("pointerdown", event => {
      if (!box || event.button) return;
      over.canvas.setPointerCapture(event.pointerId);
      dragged = {zooming: event.shiftKey, from: event.offsetX, to: event.offsetX};
      if (!event.shiftKey) looked(stepAt(event.offsetX), true);
    });
    const release = event => {
      if (!dragged) return;
      const was = dragged;
      dragged = null;
      if (!was.zooming) {
        const step = stepAt(event.offsetX);
        looked(step, false);
        desk.post({do: "place", step});
      } else if (Math.abs(was.to - was.from) > 5) {
        const steps = [was.from, was.to].map(x => box.from + (x - box.left) / box.width * (box.to - box.from)).sort((a, b) => a - b);
        zoom = steps[1] - steps[0] >= 2 ? steps : zoom;
      }
      draw();
    };
    over.canvas.addEventListener("pointerup", release);
    over.canvas.addEventListener("pointercancel", () => { dragged = null; follow(); });
    over.canvas.addEventListener("dblclick", () => { zoom = null; draw(); });

    let waiting = null;
    const moved = by => event => {
      if (event.target !== over.canvas) return;
      const step = Math.min(Math.max(Math.round(time ?? last()) + by * (event.shiftKey ? 10 : 1), 0), last());
      looked(step, true);
      clearTimeout(waiting);
      waiting = setTimeout(() => { looked(step, false); desk.post({do: "place", step}); }, 250);
    };
    keysOf(plot, {ArrowLeft: moved(-1), ArrowRight: moved(1), Home: moved(-Infinity), End: moved(Infinity), Escape: () => { zoom = null; draw(); }});
    undo.push(() => clearTimeout(waiting));

    // What comes

    function draw() {
      told();
      board.soon();
    }

    function follow() {
      told();
      over.soon();
    }

    function renewed() {
      records = recordsOf(model);
      legend();
      draw();
    }

    function told_rows(message, buffers) {
      if (message.kind !== "rows" || message.version < records.version) return;
      if (appended(records, message, buffers)) draw();
      else if (!records.asked) {
        records.asked = true;
        desk.post({do: lines().verb});
      }
    }

    const late = () => queueMicrotask(renewed);  // both traits of a message are there before either is read
    model.on("change:lines", late);
    model.on("change:data", late);
    model.on("msg:custom", told_rows);
    undo.push(() => { model.off("change:lines", late); model.off("change:data", late); model.off("msg:custom", told_rows); });
    undo.push(desk.on("time", value => { time = value.step; follow(); }));
    root.addEventListener("ka-theme", draw);
    renewed();
    return end;
  },
};
