// The tables: numbers in coloured cells, of every branch that is compared, at the step that is looked at.
// The tables of all stored snapshots lie here, so scrubbing asks Python for nothing.

// The second minus the first, cell by cell by their names.
function difference(first, second) {
  if (!first.values || !second.values) return {step: second.step, note: ""};
  const {rows, columns} = second, values = new Float32Array(rows.length * columns.length).fill(NaN);
  rows.forEach((row, i) => columns.forEach((column, j) => {
    const a = first.rows.indexOf(row), b = first.columns.indexOf(column), at = i * columns.length + j;
    if (a >= 0 && b >= 0) values[at] = second.values[at] - first.values[a * first.columns.length + b];
  }));
  return {...second, values, centre: 0};
}

export default panel("tables", "tables", ({model, session, root, undo}) => {
  const head = make("div", root, {class: "ka-tables-head"});
  const select = make("select", head, {"aria-label": "which table"});
  const differ = button(head, "second − first", "show by how much the branches differ, instead of each", () => { minus = !minus; build(); }, {"aria-pressed": "false"});
  const at = make("output", head, {class: "ka-numbers ka-quiet"});
  const body = make("div", root, {class: "ka-tables-body"});
  const foot = make("div", root, {class: "ka-tables-foot ka-small"});
  const least = make("span", foot, {class: "ka-numbers"});
  const bar = sharpCanvas(foot, undo, paintBar, {class: "ka-tables-bar", role: "img"});
  const most = make("span", foot, {class: "ka-numbers"});
  const unit = make("span", foot, {class: "ka-tables-unit"});
  const note = make("span", foot, {class: "ka-quiet ka-tables-note"});

  const film = filmOf(model);
  let time = null, minus = false, limits = [0, 1, VIRIDIS, false], parts = [], asked = null, marked = null, current = null;

  select.addEventListener("change", () => {
    asked = select.value;
    film.ask({choose: select.value});
    build();
  });

  function list() {
    const choices = model.get("choices");
    setOptions(select, choices.map(({key, name, tip, reason}) => [key, reason ? `${name} (not in this stage)` : name, reason || tip, Boolean(reason)]));
    if (asked === film.about.chosen) asked = null;
    const wanted = asked ?? film.about.chosen ?? "";
    if (select.value !== wanted) select.value = wanted;
    const chosen = choices.find(choice => choice.key === wanted);
    select.title = chosen ? chosen.reason || chosen.tip : "";
  }

  // What stands in the panel: a table a branch, or their differences from the first.
  function wanted() {
    const tables = film.branches.map((branch, i) => ({name: branch.name, branch, table: film.at(i, time)}));
    if (!minus || tables.length < 2) return tables;
    const [first, ...others] = tables;
    return others.map(other => ({
      name: `${other.name} − ${first.name}`, branch: other.branch,
      table: first.table && other.table ? difference(first.table, other.table) : null,
    }));
  }

  // One range of colours for the whole film, so that a colour means the same at every step.
  function ranged() {
    let low = Infinity, high = -Infinity, centre = null;
    const differs = minus && film.branches.length > 1;
    for (const {frames} of film.branches.slice(differs ? 1 : 0)) for (const frame of frames) {
      const table = differs ? difference(film.at(0, frame.step) ?? {}, frame) : frame;
      if (table.values) centre = table.centre ?? centre;
      for (const value of table.values ?? []) if (Number.isFinite(value)) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (differs) centre = 0;
    if (low > high) [low, high] = [0, 1];
    if (centre !== null) {
      const reach = Math.max(Math.abs(low - centre), Math.abs(high - centre)) || 1;
      [low, high] = [centre - reach, centre + reach];
    }
    limits = [low, high, centre === null ? VIRIDIS : DIVERGING, centre === null && low > 0 && high > 1.2 && high > 20 * low];
  }

  function paintBar(ctx, width, height) {
    for (let x = 0; x < width; x++) {
      ctx.fillStyle = mapped(x / (width - 1), 0, 1, limits[2]);
      ctx.fillRect(x, 0, 1.5, height);
    }
  }

  // Two digits that count, without the zero before the point; of differences as many digits as the greatest needs.
  function said(value) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    let text;
    if (value === 0) return "0";
    if (size >= 1e5 || (size < 1e-4 && !minus)) text = size.toExponential(0);
    else if (minus) text = size.toFixed(Math.min(Math.max(1 - Math.floor(Math.log10(Math.max(limits[1], 1e-9))), 0), 6));
    else text = size >= 9.95 ? String(Math.round(size)) : size.toFixed(Math.max(1 - Math.floor(Math.log10(size) + 1e-6), 0));
    text = text.includes("e") ? text : text.replace(/^0\./, ".").replace(/^1\.0+$/, "1");
    return (value < 0 && Number(text) !== 0 ? "−" : "") + (Number(text) === 0 ? "0" : text);
  }

  // Where a cell's colour stands between the two ends; logarithmic where the film spans many sizes.
  const shareOf = value => limits[3] ? Math.log(Math.max(value, limits[0]) / limits[0]) / Math.log(limits[1] / limits[0]) : (value - limits[0]) / (limits[1] - limits[0] || 1);

  // A table's elements: made anew where its names are others, else only the numbers are written.
  function build() {
    list();
    ranged();
    differ.hidden = film.branches.length < 2;
    differ.textContent = film.branches.length > 2 ? "− first" : "second − first";
    differ.setAttribute("aria-pressed", String(minus));
    least.textContent = said(limits[0]);
    most.textContent = said(limits[1]);
    bar.canvas.title = `colours of the whole film${limits[3] ? ", logarithmic" : ""}`;
    bar.canvas.setAttribute("aria-label", `colours from ${said(limits[0])} to ${said(limits[1])}`);
    bar.soon();
    write();
  }

  function write() {
    const shown = wanted();
    const shape = shown.map(({name, table}) => [name, table && {...table, values: null, note: null, step: table.values ? null : table.step}]);
    const focused = body.contains(document.activeElement);
    if (emptied(body, [letters(), shape])) {
      parts = shown.map(tableOf);
      arrange();
      if (focused) parts[0]?.grid[1]?.[1]?.focus();
    }
    shown.forEach(({name, table}, i) => {
      const part = parts[i];
      part.caption.textContent = part.caption.title = film.branches.length > 1 ? name + (table ? `, step ${spaced(table.step)}` : "") : "";
      if (!table?.values) return;
      const limit = String(limits.slice(0, 2)), across = table.columns.length;
      part.cells.forEach((cell, at) => {
        const value = table.values[at], text = said(value);
        if (cell.textContent !== text) cell.textContent = text;
        if (cell.dataset.value === String(value) && cell.dataset.limits === limit) return;
        Object.assign(cell.dataset, {value, limits: limit});
        const colour = Number.isFinite(value) ? mapped(shareOf(value), 0, 1, limits[2]) : "";
        cell.style.background = colour;
        cell.style.color = colour ? tone(colour) : "";
        const row = Math.floor(at / across), column = at % across;
        const can = (table.cell_images || table.row_images[row]) && Number.isFinite(value);
        cell.title = `${table.rows[row]}, ${table.columns[column]}: ${Number.isFinite(value) ? value : "no number"}${can ? "; click: select these images" : ""}`;
      });
    });
    const first = shown.find(part => part.table?.values)?.table, waits = asked && asked !== film.about.chosen;
    const steps = [...new Set(shown.flatMap(part => part.table?.step ?? []))];
    at.textContent = waits ? "computing …" : steps.length === 1 && (film.branches.length === 1 || minus) ? `of step ${spaced(steps[0])}` : "";
    at.title = time === null || !steps.length || steps.includes(time) ? "" : `the snapshot nearest to step ${time}`;
    root.classList.toggle("ka-tables-waits", Boolean(waits));
    foot.style.visibility = first ? "" : "hidden";
    if (!first) return;
    unit.textContent = unit.title = (minus ? "difference of: " : "") + (first.unit || "share") + (limits[3] ? " (log colours)" : "");
    const can = [...first.row_images, ...first.column_images].some(Boolean);
    note.textContent = note.title = [first.note, can && !first.note.includes("classes") ? `click selects: ${first.by}` : ""].filter(Boolean).join(" · ");
  }

  function tone(colour) {
    const [r, g, b] = colour.match(/\d+/g);
    return 0.299 * r + 0.587 * g + 0.114 * b < 135 ? "#ffffff" : "#000000";
  }

  // How many letters of a turned name have room.
  const letters = () => Math.min(Math.max(Math.floor(body.clientHeight * 0.35 / (0.58 * (parseFloat(getComputedStyle(root).fontSize) || 13))), 8), 24);

  function named(into, name, short, can, scope) {
    const cell = make("th", into, {scope, "aria-label": name, title: can ? `${name}; click: select these images` : name, tabindex: -1, class: can ? "ka-tables-can" : ""});
    const net = film.about.nets?.[name];
    const inner = make("span", cell, {class: "ka-tables-name"});
    if (net) make("span", inner, {class: "ka-tables-net", style: `color: ${net[0]}`, "aria-hidden": "true"}, `${GLYPHS[net[1]] ?? "□"} `);
    inner.append(short);
    return cell;
  }

  function tableOf({name, branch, table}, index) {
    const part = make("div", body, {class: "ka-tables-part"});
    const caption = make("div", part, {class: "ka-tables-caption ka-small"});
    if (!table?.values) {
      const having = branch.frames.filter(known => known.values).map(known => known.step);
      const where = having.length ? `; from step ${spaced(having[0])} to ${spaced(having.at(-1))} there is one` : "";
      make("div", part, {class: "ka-quiet"}, table ? `the stage of step ${spaced(table.step)} has no such table${where}` : film.about.chosen ? "no snapshot yet" : "no snapshot yet: press play");
      return {caption, cells: [], grid: []};
    }
    const {rows, columns} = table;
    const made = make("table", make("div", part, {class: "ka-tables-scroll"}), {class: "ka-tables-table ka-numbers"});
    make("caption", made, {class: "ka-hidden"}, `${table.title}: ${name}`);
    const turned = columns.some(column => column.length > 6) && columns.length > 4;
    made.classList.toggle("ka-tables-turned", turned);
    made.style.width = `min(100%, ${9 + 6 * columns.length}em)`;
    const top = make("tr", make("thead", made));
    const grid = [[make("td", top, {class: "ka-tables-corner"})]];
    const short = {columns: shortened(columns, turned ? letters() : 13), rows: shortened(rows, 20)};
    columns.forEach((column, j) => grid[0].push(named(top, column, short.columns[j], table.column_images[j], "col")));
    const below = make("tbody", made);
    rows.forEach((row, i) => {
      const line = make("tr", below), title = named(line, row, short.rows[i], table.row_images[i], "row");
      const look = {tabindex: -1, class: table.cell_images || table.row_images[i] ? "ka-tables-can" : ""};
      grid.push([title, ...columns.map(() => make("td", line, look))]);
    });
    const namesOf = (i, j) => [i ? rows[i - 1] : null, j ? columns[j - 1] : null];
    const positions = new Map(grid.flatMap((line, i) => line.map((cell, j) => [cell, [i, j]])));
    const choose = cell => {
      const where = positions.get(cell);
      if (!where || !cell.classList.contains("ka-tables-can") || cell.dataset.value === "NaN") return;
      const [row, column] = namesOf(...where), now = wanted()[index]?.table;
      if (!now?.values) return;
      marked = {row, column};
      marks();
      film.ask({branch: branch.name, step: now.step, table: film.about.chosen, row, column});
    };
    made.addEventListener("click", event => { const cell = event.target.closest("td, th"); focus(cell); choose(cell); });
    const focus = cell => {
      if (!cell || cell.classList.contains("ka-tables-corner")) return;
      if (current) current.tabIndex = -1;
      current = cell;
      cell.tabIndex = 0;
      cell.focus();
    };
    const move = (down, right) => event => {
      const where = positions.get(event.target.closest("td, th"));
      if (where) focus(grid[Math.min(Math.max(where[0] + down, 0), rows.length)]?.[Math.min(Math.max(where[1] + right, 0), columns.length)]);
    };
    keysOf(made, {
      ArrowUp: move(-1, 0), ArrowDown: move(1, 0), ArrowLeft: move(0, -1), ArrowRight: move(0, 1), Home: move(0, -1000), End: move(0, 1000),
      Enter: event => choose(event.target.closest("td, th")),
    });
    if (grid[1]?.[1]) grid[1][1].tabIndex = 0;
    const mark = () => grid.forEach((line, i) => line.forEach((cell, j) => {
      const [row, column] = namesOf(i, j);
      cell.classList.toggle("ka-tables-marked", Boolean(marked) && (i > 0 || j > 0) && marked.row === row && marked.column === column);
    }));
    mark();
    const cells = grid.slice(1).flatMap(line => line.slice(1));
    return {caption, cells, grid, columns: columns.length, rows: rows.length, mark, turned};
  }

  const marks = () => parts.forEach(part => part.mark?.());

  // Several tables stand side by side where they have room, else below each other.
  function arrange() {
    const size = parseFloat(getComputedStyle(root).fontSize) || 13, [first] = parts;
    const wide = parts.length * size * (7 + 2.9 * (first?.columns ?? 1)), tall = parts.length * size * (3.2 + 1.75 * (first?.rows ?? 1) + (first?.turned ? 4 : 0));
    const below = parts.length > 1 && wide > body.clientWidth && (tall <= body.clientHeight || body.clientWidth < 40 * size);
    body.classList.toggle("ka-tables-below", below);
    body.classList.toggle("ka-tables-alone", film.branches.length === 1);
  }
  const watch = new ResizeObserver(() => { write(); arrange(); });
  watch.observe(body);
  undo.push(() => watch.disconnect());

  following(model, undo, {choices: () => queueMicrotask(build)});
  undo.push(film.on(build), followTime(session, step => { time = step; write(); }));
  undo.push(session.on("selection", value => { if (!value?.length) { marked = null; marks(); } }));
  root.addEventListener("ka-theme", build);
  build();
});
