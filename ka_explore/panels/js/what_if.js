// What if: a control for every option, made from what Python says of it; a fork is all that comes of a change.

const STOPS = 1000;  // positions of a slider
const ZERO = 40;  // of them, those that mean 0 on a logarithmic one
const SNAP = 8;  // this near to the default or to what is in force, a slider takes exactly that
const HELP = "Move a slider or flip a switch, then fork: the past stays as it is, and both branches are compared.";

export default panel("what-if", "what if: options to change in a fork", ({model, session, root, undo}) => {
  const view = `${Math.random()}`;
  const set = new Map();  // what was changed here, by option
  const bad = new Map();  // what cannot be read, by option
  let pinned = null;  // the step typed in; null follows the step that is looked at
  let rows = new Map();
  let timer = null;

  const head = make("div", root, {class: "ka-row ka-wi-head"});
  make("span", head, {class: "ka-head"}, "What if …");
  const about = make("span", head, {class: "ka-quiet ka-small ka-grow ka-wi-about"});
  const count = button(head, "↺ undo all", "take all changes back", () => { set.clear(); bad.clear(); again(); }, {class: "ka-wi-all"});
  const code = button(head, "</>", "the Python that does the same", () => showCode(sheet.hidden), {"aria-pressed": "false", "aria-label": "show the Python that does the same"});
  const middle = make("div", root, {class: "ka-wi-middle"});
  const list = make("div", middle, {class: "ka-wi-list"});
  const sheet = make("div", middle, {class: "ka-wi-code", hidden: true});
  const help = make("div", root, {class: "ka-wi-help ka-small ka-quiet"}, HELP);
  const alarm = make("div", root, {class: "ka-wi-problem", role: "alert", hidden: true});
  const foot = make("div", root, {class: "ka-row ka-wi-foot", role: "group", "aria-label": "fork"});
  const fork = button(foot, "⎇ fork", "a new branch with these changes from this step on", () => post(step()), {class: "ka-main ka-numbers ka-wi-fork"});
  const stepLabel = make("label", foot, {class: "ka-wi-step", title: "the step to fork at: the one that is looked at, or type another; empty follows again"}, "step ");
  const at = make("input", stepLabel, {type: "text", inputmode: "numeric", class: "ka-numbers", "aria-label": "step to fork at"});
  const start = button(foot, "from 0", "a new branch with all the values above, from step 0 on", () => post(0), {class: "ka-wi-start", "aria-label": "fork from the start, step 0"});
  start.firstChild.replaceWith(...wordy("from ", "the start (", "0", ")"));
  const name = make("input", make("label", foot, {class: "ka-wi-name ka-grow"}, "as "), {type: "text", "aria-label": "name of the fork", spellcheck: "false", title: "name of the fork; empty takes the proposed one"});
  const playLabel = make("label", foot, {title: "after the fork the new branch plays on"});
  const plays = make("input", playLabel, {type: "checkbox", checked: true});
  playLabel.append(...wordy(" play", " it at once"));
  keysStay(root);
  const forkHere = () => { if (!fork.disabled) post(step()); };
  keysOf(root, {b: forkHere, B: forkHere, Escape: () => showCode(false)});

  // Words of which every second one goes where there is little room
  function wordy(...words) {
    return words.map((word, i) => i % 2 ? make("span", null, {class: "ka-wi-long"}, word) : document.createTextNode(word));
  }

  // Values

  const branch = () => model.get("branch");
  const recorded = () => model.get("recorded");

  const viewed = () => Math.max(Math.round(session.value("time")?.step ?? model.get("viewed_step")), 0);
  const step = () => Math.min(pinned ?? viewed(), recorded());

  const configAt = at => (branch().configs.findLast(([start]) => start <= at || start === 0) ?? branch().configs[0])[1];
  const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const defaultOf = option => option === "without" ? [] : model.get("controls").options.find(o => o.name === option)?.default;
  const valueIn = (config, option) => option in config ? config[option] : defaultOf(option);
  const valueOf = option => valueIn(configAt(step()), option);
  const shown = option => set.has(option) ? set.get(option) : valueOf(option);

  function changesAt(at) {
    const there = configAt(at), options = new Set([...Object.keys(configAt(step())), ...set.keys()]);
    return Object.fromEntries([...options].filter(option => !same(shown(option), valueIn(there, option))).map(option => [option, shown(option)]));
  }

  const told = () => [...set.keys()].filter(option => !same(set.get(option), valueOf(option)));

  function put(option, value) {
    bad.delete(option);
    if (same(value, valueOf(option))) set.delete(option);
    else set.set(option, value);
    again();
  }

  // What is asked of Python

  const proposal = () => model.get("proposal").view === view ? model.get("proposal") : {};
  const asked = at => ({of: branch().name, at, changes: changesAt(at), told: told(), name: name.value, panel: model.get("panel_id"), view});

  function propose() {
    clearTimeout(timer);
    timer = setTimeout(() => session.post({do: "propose", ...asked(step())}), 150);
  }

  function post(at) {
    if (bad.size) return;
    alarm.hidden = true;
    session.post({do: "fork", play: plays.checked, ...asked(at)});
  }

  undo.push(() => clearTimeout(timer));
  const again = () => { refreshed(); propose(); };

  // Controls

  function build() {
    const {options, teachers, without, why} = model.get("controls"), rest = options.filter(option => !option.first);
    rows = new Map();
    if (why) make("p", list, {class: "ka-quiet"}, why);
    if (teachers.length > 1) rows.set("without", teacherRow(list, teachers, without));
    for (const option of options) if (option.first) rows.set(option.name, row(list, option));
    if (!rest.length) return;
    const more = make("details", list, {class: "ka-wi-more"});
    make("summary", more, {}, `more options (${rest.length})`);
    const inside = make("div", more, {class: "ka-wi-grid"});
    for (const option of rest) rows.set(option.name, row(inside, option));
  }

  // What all rows have: help, an undo, and a line for what is wrong.
  function frame(into, option, text, control) {
    const made = make("div", into, {class: "ka-wi-row", "data-option": option});
    const id = `ka-${view.slice(2)}-${option}`;
    const label = make("span", made, {class: "ka-wi-label", id, title: text});
    const parts = (option === "without" ? "teachers" : option).split("_");
    label.append(...parts.flatMap((part, i) => i ? ["_", make("wbr"), part] : [part]));
    const described = make("span", made, {class: "ka-hidden", id: `${id}-text`}, text);
    const controls = make("span", made, {class: "ka-wi-control"});
    const back = button(made, "↺", `take the change of ${option} back`, () => { set.delete(option); bad.delete(option); again(); focus.focus(); }, {class: "ka-wi-undo", "aria-label": `undo ${option}`});
    const wrong = make("span", made, {class: "ka-wi-wrong ka-small", role: "alert", hidden: true});
    const {write, focus} = control(controls, {"aria-labelledby": id, "aria-describedby": described.id});
    for (const kind of ["pointerenter", "focusin"]) made.addEventListener(kind, () => {
      help.replaceChildren(make("b", null, {}, option), ` ${text} · default ${said(defaultOf(option))} · in force ${said(valueOf(option))}`);
      help.scrollTop = 0;
    });
    made.addEventListener("keydown", event => {
      if (event.key !== "Escape" || !set.has(option)) return;
      event.stopPropagation();
      back.click();
    });
    return {made, write, back, wrong};
  }

  const said = value => value === null || value === undefined ? "none" : Array.isArray(value) ? value.join(", ") || "none" : value === "" ? "none named" : String(value);

  function row(into, option) {
    const {name, kind, text} = option;
    if (kind === "choice") return frame(into, name, text, (into, marks) => {
      const select = make("select", into, {class: "ka-grow", ...marks});
      setOptions(select, option.choices.map(choice => [choice, choice + (choice === option.default ? " (default)" : "")]));
      select.addEventListener("change", () => put(name, select.value));
      return {focus: select, write: value => { select.value = value; }};
    });
    if (kind === "bool") return frame(into, name, text, (into, marks) => {
      const label = make("label", into, {class: "ka-wi-switch"});
      const box = make("input", label, {type: "checkbox", role: "switch", ...marks});
      const word = make("span", label, {class: "ka-quiet"});
      box.addEventListener("change", () => put(name, box.checked));
      return {focus: box, write: value => { box.checked = value; word.textContent = `${value ? "on" : "off"}${value === option.default ? " (default)" : ""}`; }};
    });
    return frame(into, name, text, (into, marks) => {
      let none = null, slide = null;
      const {low, high} = option.slider ?? {low: 0, high: 1}, middle = Number(((low + high) / 2).toPrecision(2));
      if (option.optional) {
        const label = make("label", into, {class: "ka-small ka-wi-none", title: `${name} is none: it has no effect`});
        none = make("input", label, {type: "checkbox", "aria-label": `${name}: none`});
        label.append("none");
        none.addEventListener("change", () => put(name, none.checked ? null : option.default ?? middle));
      }
      if (option.slider) slide = slider(into, option, value => put(name, value), marks);
      const box = make("input", into, {type: "text", class: `ka-numbers ${kind === "text" ? "ka-grow" : "ka-wi-box"}`, spellcheck: "false", inputmode: kind === "text" ? false : "decimal", "aria-label": `${name}, exactly`, "aria-describedby": marks["aria-describedby"]});
      const fixed = kind !== "text" && !option.slider;
      if (fixed) box.title = "this method leaves no choice here";
      box.addEventListener("input", () => {
        const text = box.value.trim(), number = Number(text);
        if (kind === "text" || (text !== "" && !Number.isNaN(number))) { put(name, kind === "text" ? text : number); return; }
        bad.set(name, `expected a number, got “${text}”`);
        refreshed(name);
      });
      return {focus: slide?.input ?? box, write: (value, typing) => {
        if (none) none.checked = value === null;
        slide?.write(value);
        box.disabled = fixed || value === null;
        if (!typing && document.activeElement !== box) box.value = value === null ? "" : String(value);
      }};
    });
  }

  // A slider with positions from 0 to STOPS; logarithmic ones have a stop at 0 where 0 is allowed.
  function slider(into, option, changed, marks) {
    const {low, high, log, zero} = option.slider, first = zero ? ZERO : 0;
    const holder = make("span", into, {class: "ka-wi-slider"});
    const input = make("input", holder, {type: "range", min: 0, max: STOPS, step: 1, ...marks});
    const positionOf = value => {
      if (value === null || value === undefined) return 0;
      const share = log ? (value <= 0 ? -1 : Math.log(value / low) / Math.log(high / low)) : (value - low) / (high - low);
      return share < 0 && zero && !(value > 0) ? 0 : first + Math.min(Math.max(share, 0), 1) * (STOPS - first);
    };
    const exact = at => {
      if (first && at < first) return 0;
      const share = (at - first) / (STOPS - first);
      const value = log ? low * (high / low) ** share : low + share * (high - low);
      if (option.kind === "int") return log && value > 100 ? Number(value.toPrecision(2)) : Math.round(value);
      return Number(value.toPrecision(log ? 2 : 3));
    };
    const valueAt = at => [valueOf(option.name), option.default].find(known => typeof known === "number" && Math.abs(positionOf(known) - at) <= SNAP) ?? exact(at);
    const value = () => valueAt(Number(input.value));
    input.addEventListener("input", () => changed(value()));
    input.addEventListener("keydown", event => {
      const way = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
      if (!way) return;
      event.preventDefault();
      const now = value();
      let at = Number(input.value);
      do at += way * 10; while (at > 0 && at < STOPS && valueAt(at) === now);
      input.value = Math.min(Math.max(at, 0), STOPS);
      changed(value());
    });
    if (option.default !== null) {
      const left = positionOf(option.default) / STOPS;
      make("span", holder, {class: "ka-wi-tick", style: `left: calc(8px + ${left} * (100% - 16px))`, title: `default ${said(option.default)}`, "aria-hidden": "true"});
    }
    if (zero) make("span", holder, {class: "ka-wi-zero", title: "the left end is 0", "aria-hidden": "true"}, "0");
    return {input, write: value => {
      input.disabled = value === null;
      if (value !== null && valueAt(Number(input.value)) !== value) input.value = Math.round(positionOf(value));
      input.setAttribute("aria-valuetext", said(value));
    }};
  }

  function teacherRow(into, teachers, text) {
    return frame(into, "without", text, (into, marks) => {
      setAttributes(into, {class: "ka-wi-control ka-wi-teachers", role: "group", "aria-label": "teachers that teach"});
      const boxes = teachers.map(teacher => {
        const label = make("label", into, {class: "ka-wi-teacher", title: `${teacher.name} teaches; off: it is left out of every term`});
        const box = make("input", label, {type: "checkbox", role: "switch", "aria-label": `${teacher.name} teaches`, "aria-describedby": marks["aria-describedby"]});
        sharpCanvas(label, undo, (ctx, width, height) => drawMarker(ctx, teacher.marker, width / 2, height / 2, 5, teacher.colour), {class: "ka-wi-marker", "aria-hidden": "true"});
        make("span", label, {class: "ka-wi-teacher-name"}, teacher.name);
        box.addEventListener("change", () => put("without", teachers.map(t => t.name).filter((_, i) => !boxes[i].checked)));
        return box;
      });
      return {focus: boxes[0], write: value => teachers.forEach((teacher, i) => { boxes[i].checked = !value.includes(teacher.name); })};
    });
  }

  // What is written

  function refreshed(typing = null) {
    const changed = told();
    const errors = proposal().errors ?? {};
    for (const [option, {made, write, back, wrong}] of rows) {
      write(shown(option), typing === option || bad.has(option));
      const different = changed.includes(option) || bad.has(option);
      made.classList.toggle("ka-wi-changed", different);
      back.style.visibility = different ? "visible" : "hidden";
      const words = bad.get(option) ?? (set.has(option) ? errors[option] : undefined);
      wrong.hidden = !words;
      wrong.textContent = words ?? "";
    }
    const open = changed.filter(option => rows.has(option)).length;
    count.hidden = !(open || bad.size);
    about.title = about.textContent = `${branch().name} · ${branch().method}`;
    feet(changed);
  }

  function feet(changed = told()) {
    const now = step();
    fork.textContent = `⎇ fork from step ${spaced(now)}`;
    const ready = changed.length > 0 && bad.size === 0;
    fork.disabled = start.disabled = !ready;
    fork.title = ready ? `a new branch with ${changed.join(", ")} changed from step ${now} on (B)` : "change something first";
    if (document.activeElement !== at || pinned === null) at.value = String(now);
    at.classList.toggle("ka-wi-pinned", pinned !== null);
    name.placeholder = ready ? proposal().name || "…" : "name";
  }

  at.addEventListener("input", () => {
    const number = Number(at.value);
    pinned = at.value.trim() === "" || !Number.isInteger(number) || number < 0 ? null : number;
    feet();
  });
  at.addEventListener("change", () => { if (pinned !== null) pinned = Math.min(pinned, recorded()); at.value = String(step()); again(); });
  name.addEventListener("input", propose);
  name.addEventListener("keydown", event => { if (event.key === "Enter") forkHere(); });

  function showCode(wanted) {
    sheet.hidden = !wanted;
    list.hidden = wanted;
    code.setAttribute("aria-pressed", String(wanted));
    if (!wanted) return;
    written();
    propose();
  }

  function written() {
    if (sheet.hidden) return;
    const {code, whole} = proposal(), scroll = sheet.scrollTop;
    if (!emptied(sheet, [code, whole]) || code === undefined) return;
    for (const [title, text] of [["this fork", code], ["everything, from scratch", whole]]) {
      const line = make("div", sheet, {class: "ka-row"});
      make("span", line, {class: "ka-head ka-grow"}, title);
      copyButton(line, root, () => text);
      make("pre", sheet, {tabindex: "0", "aria-label": `Python: ${title}`}, text);
    }
    sheet.scrollTop = scroll;
  }

  function troubled() {
    const problem = model.get("problem");
    complain(alarm, problem.view === view && problem.text && `${problem.option ? "" : "✕ not forked: "}${problem.text}`, problem.offers, post);
    if (alarm.hidden || !rows.has(problem.option)) return;
    const {made, wrong} = rows.get(problem.option);
    wrong.hidden = false;
    wrong.textContent = problem.text;
    made.closest("details")?.setAttribute("open", "");
    made.scrollIntoView({block: "nearest"});
  }

  function other() {
    const first = !list.dataset.key;
    if (emptied(list, [model.get("controls"), branch().configs])) {
      build();
      if (!first) { set.clear(); bad.clear(); pinned = null; name.value = ""; showCode(false); }
    }
    refreshed();
  }

  following(model, undo, {
    "controls branch": other,
    proposal: () => { if (proposal().view) { refreshed(); written(); } },
    problem: troubled,
    recorded: () => feet(),
    viewed_step: () => refreshed(),
  });
  other();
  undo.push(session.on("fork-here", when => { if (performance.now() - when < 500) forkHere(); }));
  undo.push(session.on("time", () => { if (pinned === null) { refreshed(); if (!sheet.hidden) propose(); } }));
});
