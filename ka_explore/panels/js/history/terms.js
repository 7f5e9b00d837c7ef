// The legend: a toggle a term, a column of values a branch.

// A value in at most `digits` + 3 letters, so that columns keep their widths.
function exactly(value, digits) {
  if (value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return size >= 10 ** digits || (size !== 0 && size < 0.01) ? value.toExponential(digits > 3 ? 2 : 1) : String(Number(value.toPrecision(digits)));
}

class Terms {
  // `draw` is called when other terms are to be drawn; what is to be undone in the end goes into `undo`.
  constructor(scene, into, undo, draw) {
    this.scene = scene;
    this.into = into;
    this.undo = undo;
    this.draw = draw;
    this.table = make("table", into, {class: "ka-history-legend ka-numbers ka-small"});
    this.rows = [];  // a term: {term, toggle, row, values}
    this.shape = "";
  }

  // Make the table anew where there are other terms or branches.
  update() {
    const {scene, table} = this, {branches, terms} = scene;
    const shape = JSON.stringify([terms, branches.map(branch => [branch.name, branch.index])]);
    if (shape === this.shape) return;
    this.shape = shape;
    const focused = this.into.contains(document.activeElement) ? document.activeElement.dataset.term : null;
    table.textContent = "";
    make("caption", table, {class: "ka-hidden"}, "values at the step that is looked at; a button a term shows or hides it");
    table.classList.toggle("ka-history-many", branches.length > 2);
    if (scene.several) {
      const row = make("tr", make("thead", table));
      make("td", row);
      for (const branch of branches) {
        const cell = make("th", row, {scope: "col", title: branch.name});
        this.swatch(cell, branch.colour, branch);
        make("span", cell, {class: "ka-history-name"}, branch.name);
      }
    }
    const rows = make("tbody", table);
    this.rows = terms.map(term => {
      const row = make("tr", rows), toggle = this.toggle(term, make("th", row, {scope: "row"}));
      row.addEventListener("pointerenter", () => { scene.emphasised = term.name; this.draw(); });
      row.addEventListener("pointerleave", () => { scene.emphasised = null; this.draw(); });
      if (term.name === focused) toggle.focus();
      return {term, toggle, row, values: branches.map(() => make("td", row))};
    });
    this.mark();
  }

  toggle({name, colour}, into) {
    const {hidden} = this.scene;
    const made = button(into, "", `show or hide ${name}; double click: it alone`, event => {
      if (event.detail === 2) this.alone(name);
      else if (!hidden.delete(name)) hidden.add(name);
      this.mark();
      this.draw();
    }, {class: "ka-history-term", "data-term": name});
    this.swatch(made, colour, null);
    make("span", made, {class: "ka-history-name"}, name);
    return made;
  }

  // Show a term alone; or all, where it is alone already.
  alone(name) {
    const {hidden, terms} = this.scene, others = terms.map(term => term.name).filter(other => other !== name);
    const was = others.every(other => hidden.has(other));
    hidden.clear();
    if (!was) others.forEach(other => hidden.add(other));
  }

  // Mark which terms are hidden.
  mark() {
    const {hidden} = this.scene;
    for (const {term, toggle, row} of this.rows) {
      toggle.setAttribute("aria-pressed", String(!hidden.has(term.name)));
      row.classList.toggle("ka-history-off", hidden.has(term.name));
    }
  }

  // A line in a colour; with a branch's dashes where one is given.
  swatch(into, colour, branch) {
    const {scene} = this;
    const made = sharpCanvas(into, (ctx, width, height) => {
      ctx.strokeStyle = scene.seen(colour);
      ctx.lineWidth = 2.2;
      ctx.setLineDash(branch ? scene.dashOf(branch) : []);
      ctx.beginPath();
      ctx.moveTo(0, height / 2);
      ctx.lineTo(width, height / 2);
      ctx.stroke();
    }, {class: "ka-history-swatch", "aria-hidden": "true"});
    this.undo.push(made.end);
    scene.root.addEventListener("ka-theme", made.soon);
  }

  // The values at a step.
  tell(step) {
    const {branches} = this.scene;
    for (const {term, values} of this.rows) {
      branches.forEach((branch, i) => {
        const column = branch.terms.indexOf(term.name), row = rowNear(branch, Math.max(step, 1));
        const there = row >= 0 && column >= 0 && (branch.thinned || branch.columns[0][row] === Math.max(Math.round(step), 1));
        const value = there ? branch.columns[column + 1][row] : NaN, cell = values[i];
        const text = exactly(value, branches.length > 2 ? 3 : 4);  // the title has all digits
        if (cell.textContent !== text) cell.textContent = text;
        cell.dataset.value = String(value);
        cell.dataset.step = there ? String(branch.columns[0][row]) : "";
        cell.title = there ? `${branch.name}, ${term.name}, step ${branch.columns[0][row]}: ${value}` : `${branch.name} has no ${term.name} at this step`;
      });
    }
  }
}
