// Branches: the runs of a session as a tree; which plays, which are compared, and what can be done with the one marked.

const DASH_ARRAYS = ["", "7 4", "2 3", "8 3 2 3"];  // as the history draws them
const COLUMNS = [
  ["plays", "plays", "the branch that plays"], ["shows", "show", "the branches that all views compare, one to three"], ["who", "branch", ""],
  ["what", "differs in", ""], ["steps", "steps", ""], ["loss", "loss", "of the last step"], ["agree", "agrees", "with the teachers, mean over them, on the probe set"],
];

export default panel("branches", "branches", ({model, session, root, undo}) => {
  const folded = new Set();
  const lines = new Map();  // by branch, its elements
  let marked = null;  // the branch that buttons and keys act on
  let editing = null;  // the branch whose name is typed
  let renamed = null;  // [old, new], until Python has done it

  const bar = make("div", root, {class: "ka-row ka-br-bar", role: "toolbar", "aria-label": "what to do with the marked branch"});
  const act = button(bar, "▶ activate", "", () => ask("activate"));
  const rename = button(bar, "✎ rename", "", () => edit(marked));
  const keep = button(bar, "⚑ keep", "", () => ask("keep"));
  const copy = copyButton(bar, root, () => branch(marked)?.code ?? "", {title: "", label: "</> copy", failed: "not copied"});
  const remove = button(bar, "✕ delete", "", () => ask("delete"));
  const more = button(bar, "open…", "add runs from a folder", () => { form.hidden = !form.hidden; if (!form.hidden) folder.focus(); }, {"aria-expanded": "false"});
  const form = make("form", root, {class: "ka-row ka-br-open", hidden: true});
  const folder = make("input", form, {type: "text", class: "ka-grow", placeholder: "folder of a run, or of runs: runs/", "aria-label": "folder of runs to open", spellcheck: "false"});
  make("button", form, {type: "submit", class: "ka-main"}, "add");
  form.addEventListener("submit", event => { event.preventDefault(); session.post({do: "open", folder: folder.value}); });
  form.addEventListener("keydown", event => { if (event.key === "Escape") { form.hidden = true; more.focus(); } });
  const said = make("div", root, {class: "ka-br-said", role: "status", hidden: true});
  const scroll = make("div", root, {class: "ka-br-scroll"});
  const head = make("div", scroll, {class: "ka-br-line ka-br-top ka-small ka-quiet", "aria-hidden": "true"});
  for (const [kind, text, title] of COLUMNS) make("span", head, {class: `ka-br-${kind}`, title}, text);
  const tree = make("div", scroll, {class: "ka-br-tree", role: "tree", "aria-label": "branches"});
  keysStay(root);

  const branches = () => model.get("tree");
  const branch = name => branches().find(line => line.name === name);
  const ask = (verb, name = marked) => session.post({do: verb, name});

  // Lines

  function visible() {
    let hide = Infinity;
    return branches().filter(line => {
      if (line.level > hide) return false;
      hide = folded.has(line.name) ? line.level : Infinity;
      return true;
    });
  }

  function lineFor(name) {
    const made = make("div", null, {class: "ka-br-line ka-br-item", role: "treeitem", tabindex: "-1", "data-branch": name});
    const part = kind => make("span", made, {class: `ka-br-${kind}`});
    const plays = make("input", part("plays"), {type: "radio", tabindex: "-1", title: "let this branch play"});
    const shows = make("input", part("shows"), {type: "checkbox", tabindex: "-1"});
    const who = part("who");
    const opener = make("span", who, {class: "ka-br-fold", "aria-hidden": "true"});
    who.insertAdjacentHTML("beforeend", '<svg class="ka-br-swatch" viewBox="0 0 26 10" aria-hidden="true"><path d="M1 5 H25"></path></svg>');
    const label = make("span", who, {class: "ka-br-name"});
    const flag = make("span", who, {class: "ka-br-flag ka-quiet"});
    const what = part("what"), steps = part("steps"), loss = part("loss"), agree = part("agree");
    const bar = make("span", steps, {class: "ka-br-progress"}), done = make("span", bar), number = make("span", steps, {class: "ka-numbers"});
    for (const kind of [steps, loss, agree]) kind.classList.add("ka-numbers");
    plays.addEventListener("change", () => { choose(made.dataset.branch); ask("activate", made.dataset.branch); });
    shows.addEventListener("change", () => { session.post({do: "show", name: made.dataset.branch, shown: shows.checked}); });
    opener.addEventListener("click", () => fold(made.dataset.branch));
    made.addEventListener("click", event => { if (!event.target.closest("input")) choose(made.dataset.branch, true); });
    label.addEventListener("dblclick", () => edit(made.dataset.branch));
    return {made, plays, shows, who, opener, stroke: who.querySelector("path"), label, flag, what, done, number, loss, agree};
  }

  const says = (part, text, title) => { part.textContent = text; part.title = title; };

  function write(line) {
    const parts = lines.get(line.name), {made} = parts;
    const differs = line.changes.join(", "), origin = `forked from ${line.from} at step ${line.at}`;
    const told = [line.name, line.active && "plays", line.shown && "shown", line.from ? origin : line.method, differs, `step ${line.recorded} of ${line.steps}`];
    setAttributes(made, {
      "data-branch": line.name, tabindex: line.name === marked ? 0 : -1, "aria-level": line.level, "aria-selected": String(line.name === marked),
      "aria-expanded": line.forks ? String(!folded.has(line.name)) : null, "aria-label": told.filter(Boolean).join(", "),
    });
    made.classList.toggle("ka-br-active", line.active);
    setAttributes(parts.plays, {"aria-label": `${line.name} plays`});
    setAttributes(parts.shows, {"aria-label": `show ${line.name}`, title: line.active ? "the branch that plays is always shown" : "show it in every view, beside the others"});
    parts.plays.checked = parts.shows.disabled = line.active;
    parts.shows.checked = line.shown;
    parts.who.style.setProperty("--level", Math.min(line.level - 1, 6));
    parts.opener.textContent = line.forks ? (folded.has(line.name) ? "▸" : "▾") : line.level > 1 ? "└" : "";
    setAttributes(parts.stroke, {stroke: line.index % 8 === 0 ? "var(--ka-front)" : line.colour, "stroke-dasharray": DASH_ARRAYS[line.index % 4]});
    parts.label.title = `${line.name}: ${line.method}, seed ${line.seed}`;
    if (editing !== line.name) parts.label.textContent = line.name;
    says(parts.flag, line.kept ? "⚑" : "", line.kept ? `stays in ${line.folder}` : "");
    if (line.from) says(parts.what, [`⎇ ${spaced(line.at)}`, differs].filter(Boolean).join(" · "), `${origin}; ${differs || "nothing changed"}; ${line.method}`);
    else says(parts.what, line.method, `${line.method}, seed ${line.seed}`);
    parts.done.style.width = `${100 * (line.steps ? line.recorded / line.steps : 1)}%`;
    says(parts.number, `${spaced(line.recorded)}/${spaced(line.steps)}`, `${line.recorded} of ${line.steps} steps recorded; stands at ${line.step}`);
    says(parts.loss, readable(line.loss), "loss of the last recorded step");
    says(
      parts.agree, line.agreement === null ? "–" : `${Math.round(100 * line.agreement)} %`,
      line.agreements.length ? `agrees at step ${line.agreed_at} with ${line.agreements.join(", ")}` : "no snapshot yet",
    );
  }

  function draw() {
    const found = visible();
    if (renamed && branch(renamed[1]) && !branch(renamed[0])) {  // the line keeps its element and its focus
      const parts = lines.get(renamed[0]);
      lines.delete(renamed[0]);
      if (parts) lines.set(renamed[1], parts);
      if (marked === renamed[0]) marked = renamed[1];
      if (folded.delete(renamed[0])) folded.add(renamed[1]);
      renamed = null;
    }
    if (!found.some(line => line.name === marked)) marked = (found.find(line => line.active) ?? found[0])?.name ?? null;
    const inside = tree.contains(document.activeElement) && document.activeElement.closest("[role=treeitem]");
    for (const [name, {made}] of lines) {
      if (found.some(line => line.name === name)) continue;
      if (editing === name) editing = null;
      lines.delete(name);
      made.remove();
    }
    found.forEach((line, i) => {
      if (!lines.has(line.name)) lines.set(line.name, lineFor(line.name));
      const {made} = lines.get(line.name);
      if (tree.children[i] !== made) tree.insertBefore(made, tree.children[i] ?? null);
      write(line);
    });
    if (inside && !document.contains(inside)) lines.get(marked)?.made.focus();
    buttons();
  }

  function buttons() {
    const line = branch(marked);
    if (!line) return;
    const last = branches().length === 1, allow = (part, disabled, title) => Object.assign(part, {disabled, title});
    allow(act, line.active, line.active ? `${line.name} is the one that plays` : `let ${line.name} be the one that plays (Enter)`);
    rename.title = `rename ${line.name} (F2)`;
    allow(keep, line.kept, line.kept ? `${line.name} stays in ${line.folder}` : `${line.name} goes when the kernel ends: keep it in runs/`);
    copy.title = line.kept ? `copy the Python that opens ${line.name}` : `copy the Python that makes ${line.name} anew`;
    allow(remove, last, last ? "the last branch cannot be deleted" : `delete ${line.name} (Delete); it can be had back for a minute`);
    more.setAttribute("aria-expanded", String(!form.hidden));
  }

  function choose(name, focus = false) {
    marked = name;
    for (const line of visible()) if (lines.has(line.name)) write(line);
    buttons();
    if (focus) lines.get(name)?.made.focus();
  }

  function fold(name) {
    if (!branch(name)?.forks) return;
    toggle(folded, name);
    draw();
  }

  // Another name, in its place

  function edit(name) {
    if (!lines.has(name) || editing) return;
    choose(name);
    const {label, made} = lines.get(name);
    label.replaceChildren();
    const box = make("input", label, {type: "text", value: name, "aria-label": `new name of ${name}`, spellcheck: "false", class: "ka-br-edit"});
    editing = name;
    naming(box, taken => {
      if (!editing) return;
      editing = null;
      const wanted = box.value.trim();
      label.textContent = name;
      if (taken && wanted && wanted !== name) {
        renamed = [name, wanted];
        session.post({do: "rename", name, new: wanted});
      }
      made.focus();
    }, true);
  }

  tree.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || editing) return;
    const found = visible(), at = found.findIndex(line => line.name === marked), line = found[at];
    if (!line) return;
    const go = to => choose(found[Math.min(Math.max(to, 0), found.length - 1)].name, true);
    const above = found.findLastIndex((other, i) => i < at && other.level < line.level);
    const keys = {
      ArrowDown: () => go(at + 1),
      ArrowUp: () => go(at - 1),
      Home: () => go(0),
      End: () => go(found.length - 1),
      ArrowLeft: () => line.forks && !folded.has(line.name) ? fold(line.name) : go(above < 0 ? at : above),
      ArrowRight: () => folded.has(line.name) ? fold(line.name) : line.forks ? go(at + 1) : null,
      Enter: () => ask("activate"),
      " ": () => session.post({do: "show", name: line.name, shown: !line.shown}),
      F2: () => edit(marked),
      Delete: () => ask("delete"),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  // What Python says

  function tell() {
    const {note, error, deleted, where} = model.get("said");
    said.replaceChildren();
    said.hidden = !(note || error || deleted);
    said.classList.toggle("ka-br-error", Boolean(error));
    if (error || note) make("span", said, {class: "ka-br-words"}, error ? `✕ ${error}` : note);
    if (error) renamed = null;
    if (deleted) {
      make("span", said, {class: "ka-br-words", title: where.trim()}, `deleted ‘${deleted}’ — `);
      button(said, "↺ undo", `bring ${deleted} back`, () => session.post({do: "undelete"}));
    } else if (note.startsWith("added")) {
      form.hidden = true;
      buttons();
    }
  }

  following(model, undo, {tree: draw, said: tell});
  draw();
  tell();
});
