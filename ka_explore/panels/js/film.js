// The film of a panel: its frames by branch and step, as panels/film.py makes them. All views of a model share it.

const FILMS = new WeakMap();

function filmOf(model) {
  if (!FILMS.has(model)) FILMS.set(model, new Film(model));
  return FILMS.get(model);
}

const KINDS = {f4: Float32Array, i4: Int32Array, u1: Uint8Array};

// What `packed` in panels/film.py laid one after the other: {number, verb, whole, about, branches}.
function filmIn(view) {
  const buffer = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength), size = new DataView(buffer).getUint32(0, true);
  const {layouts, ...header} = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let at = 4 + size;
  const frameOf = layout => {
    const {arrays, ...frame} = layouts[layout];
    for (const [name, kind, shape] of arrays) {
      const count = shape.reduce((product, side) => product * side, 1), array = new KINDS[kind](buffer, at, count);
      frame[name] = Object.assign(array, {shape});
      at += Math.ceil(array.byteLength / 4) * 4;
    }
    return frame;
  };
  header.about = frameOf(header.about);
  for (const branch of header.branches) branch.frames = branch.frames.map(([step, layout]) => ({step, ...frameOf(layout)}));
  return header;
}

class Film {
  constructor(model) {
    this.model = model;
    this.number = 0;  // of what was taken in last
    this.about = {};  // what is the same in all frames
    this.branches = [];  // {name, index, colour, steps, frames, …}: what is compared, frames in order
    this.listeners = new Set();
    this.read = () => { const view = model.get("film"); if (view?.byteLength) this.take(filmIn(view)); };
    this.hear = (message, buffers) => { if (message.kind === "film") this.take(filmIn(buffers[0])); };
    this.read();
  }

  // Call a listener with the film when frames came, and whether what they have in common did; returns what ends it.
  on(listener) {
    if (!this.listeners.size) {
      this.model.on("change:film", this.read);
      this.model.on("msg:custom", this.hear);
      this.read();
    }
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size) return;
      this.model.off("change:film", this.read);
      this.model.off("msg:custom", this.hear);
    };
  }

  // Call `draw(step)` now, when frames come, and when another step is looked at; returns what ends it.
  follow(session, draw) {
    let step = null;
    const undo = [this.on(() => draw(step)), followTime(session, now => { step = now; draw(step); })];
    draw(step);
    return () => undo.forEach(f => f());
  }

  // Ask Python's side of the panel for something, see `asked` in panels/film.py.
  ask(message) { sessionOf(this.model).post({do: this.verb, ...message}); }

  take({number, verb, whole, about, branches}) {
    if (number <= this.number) return;
    this.verb = verb;
    if (whole) Object.assign(this, {about, branches});
    else if (number > this.number + 1) return this.renew();
    else this.merge(about, branches);
    this.number = number;
    this.asked = false;
    const common = whole || Object.keys(about).length > 0;
    for (const listener of this.listeners) listener(this, common);
  }

  // Frames that came by themselves are laid into what is there, or onto it.
  merge(about, branches) {
    Object.assign(this.about, about);
    branches.forEach(({frames, ...told}, i) => {
      const mine = Object.assign(this.branches[i], told), wanted = new Set(mine.steps), there = new Map(mine.frames.map(frame => [frame.step, frame]));
      for (const frame of frames) there.set(frame.step, Object.assign(there.get(frame.step) ?? {}, frame));
      mine.frames = [...there.values()].filter(frame => wanted.has(frame.step)).sort((a, b) => a.step - b.step);
    });
  }

  // Something was missed: a view came later, or a message came before there was one.
  renew() {
    if (!this.asked) this.ask({renew: true});
    this.asked = true;
  }

  // The frame of a branch, by its index among those compared, that is nearest to a step; null where there is none.
  at(branch, step) {
    const frames = this.branches[branch]?.frames ?? [];
    if (step === null || step === undefined) return frames.at(-1) ?? null;
    return frames.reduce((best, frame) => best && Math.abs(frame.step - step) >= Math.abs(best.step - step) ? best : frame, null);
  }
}

// Call `write(step)` when another step is looked at: while the time is dragged some ten times a second, which is as fast
// as numbers can be read. Returns what ends it.
function followTime(session, write) {
  let due = null, written = 0;
  const undo = session.on("time", ({step, moving}) => {
    const left = moving ? written + 90 - performance.now() : 0, now = () => { written = performance.now(); write(step); };
    clearTimeout(due);
    if (left > 0) due = setTimeout(now, left);
    else now();
  });
  return () => { undo(); clearTimeout(due); };
}
