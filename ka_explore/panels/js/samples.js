// The samples: images side by side, with every net's answer at the step that is looked at.
// The answers of all stored snapshots lie here, so scrubbing asks Python for nothing.

const GLYPHS = {"^": "△", "s": "□", "D": "◇", "v": "▽", "P": "✚", "X": "✖", "*": "★", "o": "●"};
const ANSWERS = new WeakMap();  // what a model's views share

// Of the images that are shown: what is true, what teachers say, what students say step by step.
function answersOf(model) {
  const shown = model.get("shown"), data = floats(model.get("answers")), newest = model.get("newest");
  let found = ANSWERS.get(model);
  if (shown.version && data[0] === shown.version && found?.version !== shown.version) {
    const n = shown.places.length, pairs = 2 * n;
    let place = 1;
    const take = size => data.subarray(place, place += size);
    found = {version: shown.version, shown};
    found.truth = shown.labelled.map(() => take(n));
    found.teachers = shown.teachers.map(() => take(pairs));
    found.branches = shown.branches.map(branch => ({
      ...branch, frames: branch.steps.map(step => ({step, tasks: shown.tasks.map(() => take(pairs))})),
    }));
    ANSWERS.set(model, found);
  }
  if (found && newest.version === found.version) {
    newest.branches.forEach((branch, i) => {
      for (const [step, values] of branch.frames) {
        const all = Float32Array.from(values, value => value ?? NaN), size = all.length / found.shown.tasks.length;
        const made = {step, tasks: found.shown.tasks.map((_, t) => all.subarray(t * size, (t + 1) * size))};
        const frames = found.branches[i].frames, at = frames.findIndex(frame => frame.step >= step);
        if (at < 0) frames.push(made);
        else frames.splice(at, frames[at].step === step ? 1 : 0, made);
      }
    });
  }
  return found ?? null;
}

function nearestFrame(frames, time) {
  let best = null;
  for (const frame of frames) if (!best || Math.abs(frame.step - time) < Math.abs(best.step - time)) best = frame;
  return best;
}

export default {
  render({model, el}) {
    const session = sessionOf(model);
    const {root, undo, end} = panelIn(el, "samples", "samples: images and what every net says", session);
    const ask = message => session.post({do: model.get("shown").verb, ...message});
    const head = make("div", root, {class: "ka-samples-head"});
    const modes = make("select", head, {"aria-label": "which images", title: "which images are shown"});
    const title = make("span", head, {class: "ka-samples-title", role: "status"});
    const tools = make("div", head, {class: "ka-samples-tools", role: "toolbar", "aria-label": "selection"});
    const all = button(tools, "select all", "select all images that are shown", () => ask({all: true}));
    const invert = button(tools, "invert", "select what is not selected", () => ask({invert: true}));
    const clear = button(tools, "clear", "select nothing", () => ask({clear: true}));
    const keep = button(tools, "keep ⚑", "keep this selection under a name", naming);
    const chips = make("div", root, {class: "ka-samples-chips", "aria-label": "kept selections"});
    const grid = make("div", root, {class: "ka-samples-grid", role: "listbox", "aria-multiselectable": "true", "aria-label": "images"});
    const foot = make("div", root, {class: "ka-samples-foot ka-small"});
    const key = make("span", foot, {class: "ka-samples-key"});
    const told = make("span", foot, {class: "ka-quiet"});

    let found = answersOf(model), time = null, tiles = [], selected = new Set(), current = 0, hovered = null, short = new Map();

    modes.addEventListener("change", () => ask({mode: modes.value}));

    function naming() {
      if (tools.querySelector("input")) return;
      const input = make("input", null, {type: "text", "aria-label": "name of this selection", size: 18, maxlength: 40});
      input.value = model.get("header").suggested ?? "";
      keep.replaceWith(input);
      input.focus();
      input.select();
      let over = false;
      const done = wanted => {
        if (over) return;
        over = true;  // taking it out of the page blurs it, which would end here again
        if (wanted) ask({keep: input.value});
        input.replaceWith(keep);
        keep.focus();
      };
      input.addEventListener("keydown", event => {
        event.stopPropagation();
        if (event.key === "Enter") done(true);
        if (event.key === "Escape") done(false);
      });
      input.addEventListener("blur", () => done(false));
    }

    // What does not change with the step

    function headed() {
      const header = model.get("header"), shown = found?.shown;
      title.textContent = title.title = header.title ?? "no snapshot yet: press play";
      const size = selected.size;
      all.disabled = !shown?.places.length || shown.places.every(place => selected.has(place));
      invert.disabled = clear.disabled = keep.disabled = !size;
      const listed = shown ? [{key: "selection", name: `selection (${size})`, reason: size || shown.shows === "selection" ? "" : "nothing is selected"}, ...shown.modes] : [];
      const now = JSON.stringify(listed);
      if (modes.dataset.listed !== now) {
        modes.dataset.listed = now;
        modes.textContent = "";
        for (const {key, name, reason} of listed) make("option", modes, {value: key, disabled: Boolean(reason), title: reason}, name);
      }
      if (shown) modes.value = shown.shows;
      const drawn = shown?.places.length ?? 0;
      const steps = [...new Set((found?.branches ?? []).map(branch => nearestFrame(branch.frames, time ?? 1e12)?.step).filter(step => step !== undefined))];
      const said = [];
      if (header.all > drawn) said.push(`${drawn} of ${spaced(header.all)} images are drawn`);
      if (steps.length) said.push(`answers of step ${steps.map(spaced).join(", ")}`);
      if (shown && !shown.sheet.width) said.push("no images: only the folder is open, not its problem");
      if (shown?.labelled.length) said.push("✗ not the true class; faint: a net that does not know it");
      const nets = shown ? [...shown.teachers.map(net => [GLYPHS[net.marker] ?? "□", net.colour, net.name]), ...found.branches.map(branch =>
        ["●", found.branches.length > 1 && branch.colour !== "#222222" ? branch.colour : "", found.branches.length > 1 ? `student of ${branch.name}` : "student"])] : [];
      const legend = JSON.stringify(nets);
      if (key.dataset.nets !== legend) {
        key.dataset.nets = legend;
        key.textContent = "";
        for (const [glyph, colour, name] of nets) {
          const net = make("span", key, {class: "ka-samples-net", title: name});
          make("span", net, {style: colour ? `color: ${colour}` : "", "aria-hidden": "true"}, `${glyph} `);
          net.append(name);
        }
      }
      told.textContent = said.join(" · ");
      foot.title = [...nets.map(([glyph, , name]) => `${glyph} ${name}`), ...said].join(" · ");
    }

    function chipped() {
      const kept = model.get("kept"), now = JSON.stringify(kept);
      if (chips.dataset.kept === now) return;
      chips.dataset.kept = now;
      chips.textContent = "";
      chips.hidden = !kept.length;
      for (const {name, count} of kept) {
        const chip = make("span", chips, {class: "ka-samples-chip"});
        button(chip, `⚑ ${name}`, `select these ${count} again`, () => ask({again: name}));
        button(chip, "×", `forget ${name}`, () => ask({forget: name}), {"aria-label": `forget ${name}`});
      }
    }

    function build() {
      found = answersOf(model);
      const shown = found?.shown;
      const shape = shown ? JSON.stringify([shown.places, shown.sheet, shown.classes, shown.teachers.map(net => net.name), shown.branches.map(branch => branch.name), model.get("sheet").length]) : "";
      if (grid.dataset.shape !== shape) {
        grid.dataset.shape = shape;
        const focused = grid.contains(document.activeElement);
        grid.textContent = "";
        // the longest name says how wide a tile is
        const classes = shown?.classes ?? [], letters = Math.min(Math.max(...classes.map(name => name.length), 3), 18);
        short = new Map(shortened(classes, letters).map((words, place) => [classes[place], words]));
        grid.style.setProperty("--ka-tile", `${(9.2 + 0.5 * letters).toFixed(1)}em`);
        tiles = shown ? shown.places.map((place, i) => tileOf(shown, place, i)) : [];
        current = Math.min(current, Math.max(tiles.length - 1, 0));
        if (tiles.length) tiles[current].tile.tabIndex = 0;
        else make("div", grid, {class: "ka-quiet"}, shown ? "no such image at this step" : "no snapshot yet: press play");
        if (focused) tiles[current]?.tile.focus();
      }
      chipped();
      write();
    }

    function tileOf(shown, place, i) {
      const tile = make("div", grid, {class: "ka-samples-tile", role: "option", tabindex: -1, "data-sample": place});
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
        const place = found.truth[k][i];
        const name = place >= 0 ? shown.classes[place] : "not known";
        made.answer.textContent = short.get(name) ?? name;
        made.row.title = `image ${shown.index[i]} of the pool; true ${shown.tasks[task] || "class"}: ${name}`;
        return made;
      });
      if (!truth.length) line("ka-samples-true", "#", "", `image ${shown.index[i]} of the pool`).answer.textContent = shown.index[i];
      const teachers = shown.teachers.map((net, t) => {
        const made = line("", GLYPHS[net.marker] ?? "□", net.colour, net.name);
        wrote(made, shown, found.teachers[t], i, net.task, net.name, net.knows);
        return made;
      });
      const students = found.branches.map(branch => shown.tasks.map(task => {
        const several = found.branches.length > 1;
        const made = line("ka-samples-student", "●", several && branch.colour !== "#222222" ? branch.colour : "", `student${several ? ` of ${branch.name}` : ""}${task ? `, ${task}` : ""}`);
        return made;
      }));
      tile.addEventListener("click", () => toggle(i));
      tile.addEventListener("pointerenter", () => session.emit("hover", place));
      tile.addEventListener("pointerleave", () => session.emit("hover", null));
      tile.addEventListener("focus", () => { if (tile.matches(":focus-visible")) session.emit("hover", place); });
      tile.addEventListener("blur", () => { if (session.value("hover") === place) session.emit("hover", null); });
      return {tile, place, teachers, students};
    }

    // A net's answer; what is wrong has a sign, not a colour alone.
    function wrote(line, shown, pairs, i, task, name, knows) {
      const best = pairs ? pairs[2 * i] : NaN, share = pairs ? pairs[2 * i + 1] : NaN;
      const answer = Number.isNaN(best) ? "–" : shown.classes[best];
      const k = shown.labelled.indexOf(task), truth = k < 0 ? -1 : found.truth[k][i];
      const foreign = truth >= 0 && knows && !knows.includes(truth), wrong = truth >= 0 && !Number.isNaN(best) && best !== truth;
      const mark = foreign ? "" : wrong ? "✗" : "";
      const key = `${answer} ${share} ${mark}`;
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
      const shown = found?.shown;
      if (shown) {
        found.branches.forEach((branch, b) => {
          const frame = nearestFrame(branch.frames, time ?? 1e12);
          shown.tasks.forEach((_, t) => tiles.forEach((tile, i) => {
            const line = tile.students[b][t];
            wrote(line, shown, frame?.tasks[t], i, t, line.title, null);
          }));
        });
      }
      marked();
      headed();
    }

    function marked() {
      for (const {tile, place} of tiles) {
        tile.setAttribute("aria-selected", String(selected.has(place)));
        tile.classList.toggle("ka-samples-hovered", place === hovered);
      }
    }

    function toggle(i) {
      const place = tiles[i].place;
      if (!selected.delete(place)) selected.add(place);
      marked();
      headed();
      focus(i, false);
      ask({toggle: place});
    }

    function focus(i, really = true) {
      tiles[current] && (tiles[current].tile.tabIndex = -1);
      current = Math.min(Math.max(i, 0), tiles.length - 1);
      if (!tiles[current]) return;
      tiles[current].tile.tabIndex = 0;
      if (really) tiles[current].tile.focus();
    }

    const across = () => {
      const top = tiles[0]?.tile.offsetTop;
      const next = tiles.findIndex(({tile}) => tile.offsetTop !== top);
      return next < 0 ? tiles.length : next;
    };
    keysOf(grid, {
      ArrowRight: () => focus(current + 1), ArrowLeft: () => focus(current - 1),
      ArrowDown: () => focus(Math.min(current + across(), tiles.length - 1)), ArrowUp: () => focus(Math.max(current - across(), 0)),
      Home: () => focus(0), End: () => focus(tiles.length - 1), Enter: () => toggle(current), " ": () => toggle(current),
    });

    function selecting() {
      const samples = integers(model.get("selected"));
      selected = new Set(samples);
      const known = session.value("selection");
      if (!known || known.length !== samples.length || samples.some((sample, i) => sample !== known[i])) session.emit("selection", samples);
      marked();
      headed();
    }

    const late = () => queueMicrotask(build);
    const listen = (name, listener) => {
      model.on(`change:${name}`, listener);
      undo.push(() => model.off(`change:${name}`, listener));
    };
    for (const name of ["shown", "answers", "sheet", "newest", "kept", "header"]) listen(name, late);
    listen("selected", selecting);
    // While the time is dragged numbers change some ten times a second, which is as fast as they can be read.
    let due = null, wrote_at = 0;
    undo.push(session.on("time", value => {
      time = value.step;
      const left = value.moving ? wrote_at + 90 - performance.now() : 0;
      clearTimeout(due);
      due = null;
      if (left > 0) due = setTimeout(follow, left);
      else follow();
    }), () => clearTimeout(due));
    function follow() {
      wrote_at = performance.now();
      write();
    }
    undo.push(session.on("hover", value => { hovered = value; marked(); }));
    undo.push(session.on("selection", value => { selected = new Set(value); marked(); headed(); }));
    build();
    selecting();
    return end;
  },
};
