// The samples: images side by side, with every net's answer at the step that is looked at.

export default panel("samples", "samples: images and what every net says", ({model, session, root, undo}) => {
  const film = filmOf(model), ask = message => film.ask(message);
  const head = make("div", root, {class: "ka-samples-head"});
  const modes = make("select", head, {"aria-label": "which images", title: "which images are shown"});
  const title = make("span", head, {class: "ka-samples-title", role: "status"});
  const tools = make("div", head, {class: "ka-samples-tools", role: "toolbar", "aria-label": "selection"});
  const all = button(tools, "select all", "select all images that are shown", () => ask({all: true}));
  const invert = button(tools, "invert", "select what is not selected", () => ask({invert: true}));
  const clear = button(tools, "clear", "select nothing", () => ask({clear: true}));
  const keep = button(tools, "keep ⚑", "keep this selection under a name", keepNamed);
  const chips = make("div", root, {class: "ka-samples-chips", "aria-label": "kept selections"});
  const grid = make("div", root, {class: "ka-samples-grid", role: "listbox", "aria-multiselectable": "true", "aria-label": "images"});
  const foot = make("div", root, {class: "ka-samples-foot ka-small"});
  const key = make("span", foot, {class: "ka-samples-key"});
  const told = make("span", foot, {class: "ka-quiet"});

  let shown = null, time = null, tiles = [], selected = new Set(), current = 0, hovered = null, short = new Map();

  modes.addEventListener("change", () => ask({mode: modes.value}));

  function keepNamed() {
    if (tools.querySelector("input")) return;
    const input = make("input", null, {type: "text", "aria-label": "name of this selection", size: 18, maxlength: 40});
    input.value = model.get("header").suggested ?? "";
    keep.replaceWith(input);
    naming(input, taken => {
      if (taken) ask({keep: input.value});
      input.replaceWith(keep);
      keep.focus();
    }, false);
  }

  const colourOf = branch => film.branches.length > 1 && branch.colour !== "#222222" ? branch.colour : "";
  const studentOf = branch => film.branches.length > 1 ? `student of ${branch.name}` : "student";

  // What does not change with the step

  function headed() {
    const header = model.get("header");
    title.textContent = title.title = header.title ?? "no snapshot yet: press play";
    const size = selected.size;
    all.disabled = !shown?.samples.length || shown.samples.every(sample => selected.has(sample));
    invert.disabled = clear.disabled = keep.disabled = !size;
    const listed = shown ? [{key: "selection", name: `selection (${size})`, reason: size || shown.shows === "selection" ? "" : "nothing is selected"}, ...shown.modes] : [];
    setOptions(modes, listed.map(({key, name, reason}) => [key, name, reason, Boolean(reason)]));
    if (shown) modes.value = shown.shows;
    const drawn = shown?.samples.length ?? 0;
    const steps = [...new Set(film.branches.flatMap((_, i) => film.at(i, time)?.step ?? []))];
    const said = [
      header.all > drawn && `${drawn} of ${spaced(header.all)} images are drawn`,
      steps.length && `answers of step ${steps.map(spaced).join(", ")}`,
      shown && !shown.sheet.width && "no images: only the folder is open, not its problem",
      shown?.labelled.length && "✗ not the true class; faint: a net that does not know it",
    ].filter(Boolean);
    const teachers = shown?.teachers.map(net => [GLYPHS[net.marker] ?? "□", net.colour, net.name]);
    const nets = shown ? [...teachers, ...film.branches.map(branch => ["●", colourOf(branch), studentOf(branch)])] : [];
    if (emptied(key, nets)) for (const [glyph, colour, name] of nets) {
      const net = make("span", key, {class: "ka-samples-net", title: name});
      make("span", net, {style: colour ? `color: ${colour}` : "", "aria-hidden": "true"}, `${glyph} `);
      net.append(name);
    }
    told.textContent = said.join(" · ");
    foot.title = [...nets.map(([glyph, , name]) => `${glyph} ${name}`), ...said].join(" · ");
  }

  function chipped() {
    const kept = model.get("kept");
    if (!emptied(chips, kept)) return;
    chips.hidden = !kept.length;
    for (const {name, count} of kept) {
      const chip = make("span", chips, {class: "ka-samples-chip"});
      button(chip, `⚑ ${name}`, `select these ${count} again`, () => ask({again: name}));
      button(chip, "×", `forget ${name}`, () => ask({forget: name}), {"aria-label": `forget ${name}`});
    }
  }

  function build() {
    shown = film.about.samples ? film.about : null;
    const shape = shown ? [shown.samples, shown.sheet, shown.classes, shown.teachers.map(net => net.name), film.branches.map(branch => branch.name), model.get("sheet").length] : "";
    const focused = grid.contains(document.activeElement);
    if (emptied(grid, shape)) {
      // the longest name says how wide a tile is
      const classes = shown?.classes ?? [], letters = Math.min(Math.max(...classes.map(name => name.length), 3), 18);
      short = new Map(shortened(classes, letters).map((words, i) => [classes[i], words]));
      grid.style.setProperty("--ka-tile", `${(9.2 + 0.5 * letters).toFixed(1)}em`);
      tiles = shown ? shown.samples.map(tileOf) : [];
      current = Math.min(current, Math.max(tiles.length - 1, 0));
      if (tiles.length) tiles[current].tile.tabIndex = 0;
      else make("div", grid, {class: "ka-quiet"}, shown ? "no such image at this step" : "no snapshot yet: press play");
      if (focused) tiles[current]?.tile.focus();
    }
    chipped();
    write();
  }

  function tileOf(sample, i) {
    const tile = make("div", grid, {class: "ka-samples-tile", role: "option", tabindex: -1, "data-sample": sample});
    const {width, height, columns, rows} = shown.sheet;
    if (width) {
      const scale = `${100 * columns}% ${100 * rows}%`;
      const part = (at, count) => count > 1 ? `${100 * at / (count - 1)}%` : "0%";
      make("div", tile, {
        class: "ka-samples-image", "aria-hidden": "true",
        style: `aspect-ratio: ${width} / ${height}; background-image: url(${model.get("sheet")}); background-size: ${scale}; background-position: ${part(i % columns, columns)} ${part(Math.floor(i / columns), rows)}`,
      });
    }
    const lines = make("div", tile, {class: "ka-samples-lines"});
    const line = (kind, glyph, colour, title) => {
      const row = make("div", lines, {class: `ka-samples-line ${kind}`, title});
      make("span", row, {class: "ka-samples-glyph", style: colour ? `color: ${colour}` : "", "aria-hidden": "true"}, glyph);
      return {row, answer: make("span", row, {class: "ka-samples-answer"}), share: make("span", row, {class: "ka-samples-share ka-numbers"}), mark: make("span", row, {class: "ka-samples-mark"}), title};
    };
    const truth = shown.labelled.map((task, k) => {
      const made = line("ka-samples-true", "=", "", `true ${shown.tasks[task] || "class"}`);
      const name = shown.classes[truthOf(k, i)] ?? "not known";
      made.answer.textContent = short.get(name) ?? name;
      made.row.title = `image ${shown.index[i]} of the pool; true ${shown.tasks[task] || "class"}: ${name}`;
      return made;
    });
    if (!truth.length) line("ka-samples-true", "#", "", `image ${shown.index[i]} of the pool`).answer.textContent = shown.index[i];
    shown.teachers.forEach((net, t) => {
      const made = line("", GLYPHS[net.marker] ?? "□", net.colour, net.name);
      wrote(made, shown.taught, t, i, net.task, net.name, net.knows);
    });
    const students = film.branches.map(branch => shown.tasks.map(task => line(
      "ka-samples-student", "●", colourOf(branch), studentOf(branch) + (task ? `, ${task}` : ""),
    )));
    tile.addEventListener("click", () => pick(i));
    tile.addEventListener("pointerenter", () => session.emit("hover", sample));
    tile.addEventListener("pointerleave", () => session.emit("hover", null));
    tile.addEventListener("focus", () => { if (tile.matches(":focus-visible")) session.emit("hover", sample); });
    tile.addEventListener("blur", () => { if (session.value("hover") === sample) session.emit("hover", null); });
    return {tile, sample, students};
  }

  // The true class of a tile, by the index of its task among those that have labels; -1 where it is not known.
  const truthOf = (k, i) => k < 0 ? -1 : shown.truth[k * shown.samples.length + i];

  // A net's answer, in a row of (row, image, class and share); what is wrong has a sign, not a colour alone.
  function wrote(line, pairs, row, i, task, name, knows) {
    const at = 2 * (row * shown.samples.length + i), best = pairs?.[at] ?? NaN, share = pairs?.[at + 1] ?? NaN;
    const answer = Number.isNaN(best) ? "–" : shown.classes[best];
    const truth = truthOf(shown.labelled.indexOf(task), i);
    const foreign = truth >= 0 && knows && !knows.includes(truth), wrong = truth >= 0 && !Number.isNaN(best) && best !== truth;
    const mark = wrong && !foreign ? "✗" : "", key = `${answer} ${share} ${mark}`;
    if (line.key === key) return;
    line.key = key;
    line.answer.textContent = short.get(answer) ?? answer;
    line.share.textContent = Number.isNaN(share) ? "" : `${Math.round(100 * share)}%`;
    line.mark.textContent = mark;
    line.row.classList.toggle("ka-samples-wrong", wrong && !foreign);
    line.row.classList.toggle("ka-samples-foreign", Boolean(foreign));
    line.row.dataset.value = String(share);
    line.row.title = `${name}: ${answer}${Number.isNaN(share) ? ", not finite" : ` (probability ${share.toPrecision(4)})`}${foreign ? "; it does not know the true class" : wrong ? "; not the true class" : ""}`;
  }

  // What follows the step

  function write() {
    film.branches.forEach((_, b) => {
      const answers = film.at(b, time)?.answers;
      shown?.tasks.forEach((_, t) => tiles.forEach(({students}, i) => wrote(students[b][t], answers, t, i, t, students[b][t].title, null)));
    });
    marked();
    headed();
  }

  function marked() {
    for (const {tile, sample} of tiles) {
      tile.setAttribute("aria-selected", String(selected.has(sample)));
      tile.classList.toggle("ka-samples-hovered", sample === hovered);
    }
  }

  function pick(i) {
    const {sample} = tiles[i];
    toggle(selected, sample);
    marked();
    headed();
    focus(i, false);
    ask({toggle: sample});
  }

  function focus(i, really = true) {
    if (tiles[current]) tiles[current].tile.tabIndex = -1;
    current = Math.min(Math.max(i, 0), tiles.length - 1);
    if (!tiles[current]) return;
    tiles[current].tile.tabIndex = 0;
    if (really) tiles[current].tile.focus();
  }

  const across = () => {
    const next = tiles.findIndex(({tile}) => tile.offsetTop !== tiles[0].tile.offsetTop);
    return next < 0 ? tiles.length : next;
  };
  keysOf(grid, {
    ArrowRight: () => focus(current + 1), ArrowLeft: () => focus(current - 1),
    ArrowDown: () => focus(Math.min(current + across(), tiles.length - 1)), ArrowUp: () => focus(Math.max(current - across(), 0)),
    Home: () => focus(0), End: () => focus(tiles.length - 1), Enter: () => pick(current), " ": () => pick(current),
  });

  const selecting = () => session.selected(integers(model.get("selected")));
  following(model, undo, {"sheet kept header": () => queueMicrotask(build), selected: selecting});
  undo.push(film.on(build), followTime(session, step => { time = step; write(); }));
  undo.push(session.on("hover", value => { hovered = value; marked(); }));
  undo.push(session.on("selection", value => { selected = new Set(value ?? []); marked(); headed(); }));
  build();
  selecting();
});
