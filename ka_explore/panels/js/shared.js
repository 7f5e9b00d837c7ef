// What every panel's script starts with: the bus of a session, the theme, colours and markers of nets.
// A session is known by its id; all panels of a page that name it share one bus, whatever widget they are in.

const SESSIONS = (globalThis[Symbol.for("ka_explore.sessions")] ??= new Map());

class Session {
  // Topics keep their last value, so that a panel that comes later finds it.
  //   time       {step: number, by: string, moving: bool}    what all views look at; `moving` while it is dragged
  //   hover      sample or null                              the image under the pointer
  //   selection  Int32Array of samples                       what Python knows is selected; the player or any panel emits it
  //   status     the player's status                         see panels/session.py, Status
  //   seen       number                                      the last message that Python took up
  constructor(id) {
    this.id = id;
    this.listeners = new Map();
    this.values = new Map();
    this.channel = null;
    this.waiting = [];
    this.number = Date.now();
    this.sent = null;  // {number, at} of the last message
  }

  on(topic, listener) {
    if (!this.listeners.has(topic)) this.listeners.set(topic, new Set());
    this.listeners.get(topic).add(listener);
    if (this.values.has(topic)) listener(this.values.get(topic));
    return () => this.listeners.get(topic).delete(listener);
  }

  emit(topic, value) {
    this.values.set(topic, value);
    for (const listener of this.listeners.get(topic) ?? []) listener(value);
  }

  value(topic) { return this.values.get(topic); }

  // Take up what Python says is selected.
  selected(samples) {
    const known = this.value("selection");
    if (!known || known.length !== samples.length || samples.some((sample, i) => sample !== known[i])) this.emit("selection", samples);
  }

  // Let all views look at a step; Python is told as well, unless it moves.
  look(step, by, moving = false) {
    this.emit("time", {step, by, moving});
    if (!moving) this.post({do: "look", step});
  }

  // Ask Python for something: {do: "play", …}. See Session.receive in panels/session.py for what can be asked.
  post(message) {
    const whole = {...message, number: ++this.number};
    this.sent = {number: whole.number, at: performance.now()};
    if (this.channel) this.channel.send(whole);
    else this.waiting.push(whole);
  }

  // A notebook that is closed and opened again, or a kernel that restarted, brings another channel. The second hello
  // matters: a kernel moves a comm to a thread of its own only from its second message on.
  async join(model) {
    const name = String(model.get("channel")).replace("IPY_MODEL_", "");
    try {
      const channel = await model.widget_manager.get_model(name);
      if (channel === this.channel) return;
      this.channel = channel;
      this.sent = null;
      for (const message of this.waiting.splice(0)) channel.send(message);
      channel.send({do: "hello", number: ++this.number});
      setTimeout(() => channel === this.channel && channel.send({do: "hello", number: ++this.number}), 800);
    } catch (error) {
      console.warn("ka_explore: the channel is not there", error);
    }
  }
}

function sessionOf(model) {
  const id = model.get("session_id");
  if (!SESSIONS.has(id)) SESSIONS.set(id, new Session(id));
  const session = SESSIONS.get(id);
  session.join(model);
  return session;
}

// A panel's frame: an element with the class, a title for screen readers, and what is undone when the view goes.
// Give it to every listener: `undo.push(session.on(…))`; render returns `() => undo.forEach(f => f())`.
// While a session's panels live, the static picture of them that stands in the notebook is hidden.
function panelIn(el, kind, label, session) {
  el.classList.add("ka-cell");
  const root = make("section", el, {class: `ka ka-${kind}`, "aria-label": label});
  const hide = session && make("style", document.head, {}, `.ka-static-${session.id} { display: none; }`);
  const look = () => root.classList.toggle("ka-dark", isDark(root));
  const changed = () => { look(); root.dispatchEvent(new CustomEvent("ka-theme")); };
  const watch = new MutationObserver(changed);
  watch.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"]});
  const undo = [() => watch.disconnect(), () => hide?.remove()];
  // A theme's colours may come later than its name: their change is a transition of next to no time.
  root.addEventListener("transitionend", event => { if (event.target === root) changed(); });
  requestAnimationFrame(look);
  return {root, undo, end: () => undo.splice(0).forEach(f => f())};
}

// What a panel's module exports; `fill` gets the model, its element, its session, and the frame's root and undo.
const panel = (kind, label, fill) => ({
  render({model, el}) {
    const session = sessionOf(model), {root, undo, end} = panelIn(el, kind, label, session);
    fill({model, el, session, root, undo});
    return end;
  },
});

// DOM

function button(into, text, title, press, attributes = {}) {
  const made = make("button", into, {type: "button", title, ...attributes}, text);
  made.addEventListener("click", press);
  return made;
}

// Empty an element, if it is to show something else than the last time; says whether it is.
function emptied(element, shown) {
  const key = JSON.stringify(shown);
  if (element.dataset.key === key) return false;
  element.dataset.key = key;
  element.replaceChildren();
  return true;
}

// Give a select these options, [value, text, title, disabled] each; only if they are others, so an open one stays open.
function setOptions(select, options) {
  if (emptied(select, options)) for (const [value, text, title, disabled] of options) make("option", select, {value, title, disabled}, text);
}

// Let a name be typed: Enter takes it, Escape does not, and leaving does as `leaving` says. `done(taken)` is called once.
function naming(input, done, leaving) {
  let over = false;
  const ends = taken => {
    if (over) return;
    over = true;  // taking it out of the page blurs it, which would end here again
    done(taken);
  };
  input.addEventListener("keydown", event => {
    event.stopPropagation();
    if (event.key === "Enter") ends(true);
    if (event.key === "Escape") ends(false);
  });
  input.addEventListener("blur", () => ends(leaving));
  input.focus();
  input.select();
}

// Put a value into a set, or take it out.
const toggle = (set, value) => set.delete(value) || set.add(value);

// Shadows of JupyterLab's own keys: what a panel understands must not run cells or move between them.
function keysOf(root, keys) {
  root.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const kind = event.target.tagName, press = keys[event.key];
    if (kind === "TEXTAREA" || (kind === "INPUT" && event.target.type === "text")) { event.stopPropagation(); return; }
    if (!press || (event.key === " " && ["BUTTON", "SELECT", "SUMMARY"].includes(kind))) return;
    if (event.key.startsWith("Arrow") && (kind === "SELECT" || (kind === "INPUT" && event.target.type === "range"))) return;
    event.preventDefault();
    event.stopPropagation();
    press(event);
  });
}

// Traits

// Call listeners with every change of their traits, several to a line, until the view goes.
function following(model, undo, listeners) {
  for (const [traits, listener] of Object.entries(listeners)) {
    for (const trait of traits.split(" ")) listen(model, undo, `change:${trait}`, listener);
  }
}

function listen(model, undo, event, listener) {
  model.on(event, listener);
  undo.push(() => model.off(event, listener));
}

const integers = value => new Int32Array(value ? value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength) : 0);

// Theme

function isDark(root) {
  const parts = getComputedStyle(root).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [255, 255, 255];
  return 0.3 * parts[0] + 0.6 * parts[1] + 0.1 * parts[2] < 110;
}

const styleOf = (root, name) => getComputedStyle(root).getPropertyValue(name).trim();

// The student is dark on light and light on dark; teachers keep their colours.
const netColour = (net, root) => net.name === "student" ? styleOf(root, "--ka-front") || "#222222" : net.colour;

// blue to red through a light grey, for numbers on both sides of one
const DIVERGING = [[33, 102, 172], [67, 147, 195], [146, 197, 222], [209, 229, 240], [240, 240, 240], [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43]];

// The same as letters
const GLYPHS = {"^": "△", "s": "□", "D": "◇", "v": "▽", "P": "✚", "X": "✖", "*": "★", "o": "●"};

// A canvas that is as sharp as the screen and as large as its element; `paint(ctx, width, height)` in CSS pixels.
// Paints are gathered: at most one a frame of the screen.
function sharpCanvas(into, undo, paint, attributes = {}) {
  const canvas = make("canvas", into, attributes);
  let wanted = false;
  function now() {
    wanted = false;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (width && height) paint(cleared(canvas, width, height), width, height);
  }
  const soon = () => { if (!wanted) { wanted = true; requestAnimationFrame(now); } };
  const watch = new ResizeObserver(soon);
  watch.observe(canvas);
  undo.push(() => watch.disconnect());
  return {canvas, soon};
}

// Begin a path through points.
function trace(ctx, ...points) {
  ctx.beginPath();
  points.forEach(([x, y], i) => i ? ctx.lineTo(x, y) : ctx.moveTo(x, y));
}

function strokeLine(ctx, from, to, dash = []) {
  ctx.setLineDash(dash);
  trace(ctx, from, to);
  ctx.stroke();
  ctx.setLineDash([]);
}

// As much of a text as has room, or nothing where that would be less than three letters.
function fitted(ctx, text, room) {
  const shorter = Array.from({length: Math.max(text.length - 3, 0)}, (_, i) => `${text.slice(0, text.length - 1 - i)}…`);
  return [text, ...shorter].find(words => ctx.measureText(words).width <= room) ?? "";
}

function readable(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e4 || size < 1e-3 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
}

// Names in at most so many letters. The middle gives way, or more of an end where this tells more of them apart.
function shortened(names, most) {
  const cut = tail => name => name.length <= most ? name : `${name.slice(0, most - 1 - tail)}…${name.slice(name.length - tail)}`;
  const tails = [...Array(most).keys()].sort((a, b) => Math.abs(a - most / 2) - Math.abs(b - most / 2));
  const apart = tails.map(tail => new Set(names.map(cut(tail))).size);
  return names.map(cut(tails[apart.indexOf(Math.max(...apart))]));
}

const spaced = count => String(count).replace(/\B(?=(\d{3})+(?!\d))/g, " ");

function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(value % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
