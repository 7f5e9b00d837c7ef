// The legend: a toggle a term, a column of values a branch.

// A value in at most `digits` + 3 letters, so that columns keep their widths.
function exactly(value, digits) {
  if (value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return size >= 10 ** digits || (size !== 0 && size < 0.01) ? value.toExponential(digits > 3 ? 2 : 1) : String(Number(value.toPrecision(digits)));
}

// The table of terms: `update()` makes it anew where there are other terms or branches, `tell(step)` writes the values.
// `draw` is called when other terms are to be drawn; what is to be undone in the end goes into `undo`.
function termsIn(into, scene, undo, draw) {
  const table = make("table", into, {class: "ka-history-legend ka-numbers ka-small"}), {hidden} = scene;
  let rows = [];  // a term: {term, made, row, values}

  function update() {
    const {branches, terms} = scene;
    const focused = into.contains(document.activeElement) ? document.activeElement.dataset.term : null;
    if (!emptied(table, [terms, branches.map(branch => [branch.name, branch.index])])) return;
    make("caption", table, {class: "ka-hidden"}, "values at the step that is looked at; a button a term shows or hides it");
    table.classList.toggle("ka-history-many", branches.length > 2);
    if (scene.several) {
      const row = make("tr", make("thead", table));
      make("td", row);
      for (const branch of branches) named(make("th", row, {scope: "col", title: branch.name}), branch.name, branch.colour, branch);
    }
    const body = make("tbody", table);
    rows = terms.map(term => {
      const row = make("tr", body), made = toggleOf(term, make("th", row, {scope: "row"}));
      row.addEventListener("pointerenter", () => { scene.emphasised = term.name; draw(); });
      row.addEventListener("pointerleave", () => { scene.emphasised = null; draw(); });
      if (term.name === focused) made.focus();
      return {term, made, row, values: branches.map(() => make("td", row))};
    });
    mark();
  }

  function toggleOf({name, colour}, into) {
    const made = button(into, "", `show or hide ${name}; double click: it alone`, event => {
      if (event.detail === 2) alone(name);
      else toggle(hidden, name);
      mark();
      draw();
    }, {class: "ka-history-term", "data-term": name});
    named(made, name, colour);
    return made;
  }

  // Show a term alone; or all, where it is alone already.
  function alone(name) {
    const others = scene.terms.map(term => term.name).filter(other => other !== name), was = others.every(other => hidden.has(other));
    hidden.clear();
    if (!was) others.forEach(other => hidden.add(other));
  }

  // Mark which terms are hidden.
  function mark() {
    for (const {term, made, row} of rows) {
      made.setAttribute("aria-pressed", String(!hidden.has(term.name)));
      row.classList.toggle("ka-history-off", hidden.has(term.name));
    }
  }

  // A line in a colour, with a branch's dashes where one is given, and a name.
  function named(into, name, colour, branch) {
    const swatch = sharpCanvas(into, undo, (ctx, width, height) => {
      ctx.strokeStyle = scene.seen(colour);
      ctx.lineWidth = 2.2;
      strokeLine(ctx, [0, height / 2], [width, height / 2], branch ? scene.dashOf(branch) : []);
    }, {class: "ka-history-swatch", "aria-hidden": "true"});
    scene.root.addEventListener("ka-theme", swatch.soon);
    make("span", into, {class: "ka-history-name"}, name);
  }

  function tell(step) {
    const {branches} = scene, from = Math.max(step, 1);
    for (const {term, values} of rows) branches.forEach((branch, i) => {
      const column = branch.terms.indexOf(term.name), row = rowNear(branch, from), at = branch.columns[0][row];
      const there = row >= 0 && column >= 0 && (branch.thinned || at === Math.max(Math.round(step), 1));
      const value = there ? branch.columns[column + 1][row] : NaN, cell = values[i];
      const text = exactly(value, branches.length > 2 ? 3 : 4);  // the title has all digits
      if (cell.textContent !== text) cell.textContent = text;
      Object.assign(cell.dataset, {value, step: there ? at : ""});
      cell.title = there ? `${branch.name}, ${term.name}, step ${at}: ${value}` : `${branch.name} has no ${term.name} at this step`;
    });
  }

  return {update, tell};
}
