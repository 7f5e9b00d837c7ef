// The points panel. All frames are here: time, zoom, hovering and selecting ask nobody.
//
// Three canvases a branch lie on each other: grid and lines, points, and what is pointed at. Points are stamped into an
// ImageData by hand: in Chromium without a GPU 50 000 points take 22 ms so, 150 as paths, 400 by drawImage (5 400: 3.5, 12
// and 30).

const STILL_AFTER = 180;  // milliseconds without movement after which all points are drawn
const MOVING_MOST = 20000;  // points drawn while something moves
const GLIDE = 420;  // milliseconds from one picture to the next when nobody drags
const REACH = 12;  // pixels around the pointer in which a point is found
const LINES_MOST = 600;  // images whose lines are drawn for a selection
const PHASES = 4;  // places within a pixel that markers are made for
const RAMP = 64;  // steps of a colour map

const ICONS = {
  lasso: "M8 3c3.3 0 6 1.7 6 4s-2.7 4-6 4-6-1.7-6-4 2.7-4 6-4M5 10.5c-1.5.8-1 2.5.4 2.2 1-.2.9 1.3.1 1.8",
  pan: "M8 2v12M2 8h12M8 2 6.3 3.7M8 2l1.7 1.7M8 14l-1.7-1.7M8 14l1.7-1.7M2 8l1.7-1.7M2 8l1.7 1.7M14 8l-1.7-1.7M14 8l-1.7 1.7",
  smaller: "M3.5 8h9",
  larger: "M3.5 8h9M8 3.5v9",
  reset: "M13.2 6.2A5.6 5.6 0 1 0 13.6 9M13.6 2.6v3.8H9.8",
  full: "M6 2.5H2.5V6M10 2.5h3.5V6M6 13.5H2.5V10M10 13.5h3.5V10",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
};

function iconButton(into, icon, title, press, attributes = {}) {
  const made = button(into, "", title, press, {"aria-label": title, ...attributes});
  made.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  return made;
}

function rgbOf(text) {
  const hex = text.match(/^#([0-9a-f]{6})$/i);
  if (hex) return [0, 2, 4].map(i => parseInt(hex[1].slice(i, i + 2), 16));
  const parts = text.match(/[\d.]+/g)?.map(Number) ?? [136, 136, 136];
  return parts.slice(0, 3);
}

const mixed = (one, other, share) => one.map((part, i) => Math.round(part + share * (other[i] - part)));
const packedOf = ([r, g, b]) => (r | (g << 8) | (b << 16)) >>> 0;
const written = ([r, g, b]) => `rgb(${r},${g},${b})`;
const bright = ([r, g, b]) => 0.3 * r + 0.59 * g + 0.11 * b;

// A colour that stays apart from the background.
function against(colour, back) {
  const dark = bright(back) < 110;
  if (dark && bright(colour) < 75) return mixed(colour, [255, 255, 255], 0.42);
  if (!dark && bright(colour) > 215) return mixed(colour, [0, 0, 0], 0.3);
  return colour;
}

// Markers as lists of pixels with their coverage, one list for each of PHASES × PHASES places within a pixel.
class Stamp {
  constructor(marker, size, rim, line) {
    this.reach = Math.ceil(size * 1.35 + line + 1.5);
    this.marker = marker;
    this.size = size;
    this.rim = rim;
    this.line = line;
    this.phases = [];
    this.width = 0;
  }

  at(phase, width) {
    if (this.width !== width) { this.phases = []; this.width = width; }
    return (this.phases[phase] ??= this.made(phase, width));
  }

  made(phase, width) {
    const side = 2 * this.reach + 1, canvas = Stamp.canvas ??= document.createElement("canvas");
    canvas.width = canvas.height = side;
    const ctx = canvas.getContext("2d", {willReadFrequently: true});
    const x = this.reach + 0.5 + ((phase % PHASES) + 0.5) / PHASES - 0.5, y = this.reach + 0.5 + (Math.floor(phase / PHASES) + 0.5) / PHASES - 0.5;
    const covers = draw => {
      ctx.clearRect(0, 0, side, side);
      ctx.fillStyle = ctx.strokeStyle = "#000";
      ctx.beginPath();
      draw();
      return ctx.getImageData(0, 0, side, side).data;
    };
    const pixels = data => {
      const offsets = [], alphas = [];
      for (let i = 0; i < side * side; i++) {
        const alpha = data[4 * i + 3];
        if (alpha < 8) continue;
        offsets.push((Math.floor(i / side) - this.reach) * width + (i % side) - this.reach);
        alphas.push(alpha > 247 ? 255 : alpha);
      }
      return {offsets: Int32Array.from(offsets), alphas: Uint8Array.from(alphas)};
    };
    const filled = this.marker === "o";
    const face = pixels(covers(() => {
      tracePath(ctx, this.marker, x, y, this.size);
      if (filled) { ctx.fill(); return; }
      ctx.lineWidth = this.line;
      ctx.lineJoin = "round";
      ctx.stroke();
      ctx.globalAlpha = 0.16;
      ctx.fill();
      ctx.globalAlpha = 1;
    }));
    const rim = this.rim && filled ? pixels(covers(() => { tracePath(ctx, "o", x, y, this.size + this.rim); ctx.globalAlpha = 0.75; ctx.fill(); ctx.globalAlpha = 1; })) : null;
    return {face, rim};
  }
}

// Draw one list of pixels in a colour; the picture may be transparent below.
function stamp(pixels, bytes, list, at, colour, length) {
  const {offsets, alphas} = list, solid = (0xff000000 | colour) >>> 0;
  const r = colour & 255, g = (colour >> 8) & 255, b = (colour >> 16) & 255;
  for (let k = 0; k < offsets.length; k++) {
    const place = at + offsets[k];
    if (place < 0 || place >= length) continue;
    const alpha = alphas[k];
    if (alpha === 255) { pixels[place] = solid; continue; }
    const under = pixels[place] >>> 24, i = place << 2;
    if (under === 0) { pixels[place] = ((alpha << 24) | colour) >>> 0; continue; }
    if (under === 255) {
      bytes[i] += ((r - bytes[i]) * alpha) / 255;
      bytes[i + 1] += ((g - bytes[i + 1]) * alpha) / 255;
      bytes[i + 2] += ((b - bytes[i + 2]) * alpha) / 255;
      continue;
    }
    const kept = under * (255 - alpha) / 255, whole = alpha + kept;
    bytes[i] = (r * alpha + bytes[i] * kept) / whole;
    bytes[i + 1] = (g * alpha + bytes[i + 1] * kept) / whole;
    bytes[i + 2] = (b * alpha + bytes[i + 2] * kept) / whole;
    bytes[i + 3] = whole;
  }
}

// Whether a place lies in a polygon, by the even-odd rule.
function inside(x, y, polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

// What the traits hold, unpacked.
class Film {
  constructor() {
    this.nets = [];
    this.branches = [];
    this.samples = 0;
    this.points = 0;
    this.picture = {};
    this.colouring = {};
    this.classes = {names: [], rows: [], tasks: [], knows: {}};
    this.fit = -1;
    this.first = this.last = 0;
    this.box = [-1, 1, -1, 1];
  }

  // Whether the traits belong together: they may arrive one by one.
  read(model) {
    const nets = model.get("nets") ?? [], about = model.get("branches") ?? [];
    const samples = integers(model.get("index")).length, points = nets.length * samples;
    const classes = model.get("classes") ?? {}, colouring = model.get("colouring") ?? {};
    const frames = floats(model.get("frames")), tint = floats(model.get("tint")), answers = integers(model.get("answers"));
    const count = about.reduce((sum, branch) => sum + branch.steps.length, 0);
    const tasks = (classes.rows ?? []).filter(row => row[0] === "student").length;
    if (frames.length !== 2 * points * count || answers.length !== tasks * samples * count) return false;
    if (tint.length !== (colouring.fixed ? (tint.length ? points : 0) : points * count)) return false;
    Object.assign(this, {nets, samples, points, colouring, tasks});
    this.picture = model.get("picture") ?? {};
    this.classes = {names: [], rows: [], tasks: [], knows: {}, ...classes};
    this.index = integers(model.get("index"));
    const fixed = integers(model.get("fixed")), teachers = this.classes.rows.length - tasks;
    this.teachers = fixed.subarray(0, teachers * samples);
    this.truth = fixed.subarray(teachers * samples);
    this.fixedTint = colouring.fixed ? tint : null;
    let place = 0;
    this.branches = about.map(branch => ({
      ...branch,
      frames: branch.steps.map((step, i) => {
        const at = place++;
        return {
          step, stage: branch.stages[i], note: branch.notes[i], said: branch.said[i],
          xy: frames.subarray(2 * points * at, 2 * points * (at + 1)),
          tint: colouring.fixed ? tint : tint.subarray(points * at, points * (at + 1)),
          answers: answers.subarray(tasks * samples * at, tasks * samples * (at + 1)),
        };
      }),
    }));
    this.changed();
    return true;
  }

  // One more frame, while the run plays.
  take(message, buffers) {
    const branch = this.branches[message.branch];
    if (!branch || branch.name !== message.name || message.fit !== this.picture.fit || this.picture.how !== "pca") return false;
    const xy = floats(buffers[0]), tint = floats(buffers[1]), answers = integers(buffers[2]);
    if (xy.length !== 2 * this.points || (!this.colouring.fixed && message.by !== this.colouring.by)) return false;
    const frame = {step: message.step, stage: message.stage, note: message.note, said: message.said, xy, tint: this.fixedTint ?? tint, answers};
    const wanted = new Set(message.steps);
    branch.frames = [...branch.frames.filter(f => f.step !== frame.step && wanted.has(f.step)), frame].sort((a, b) => a.step - b.step);
    branch.steps = branch.frames.map(f => f.step);
    branch.every = message.every;
    this.changed();
    return true;
  }

  changed() {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const {frames} of this.branches) {
      for (const frame of frames) {
        frame.box ??= boxOf(frame.xy);
        x0 = Math.min(x0, frame.box[0]); x1 = Math.max(x1, frame.box[1]);
        y0 = Math.min(y0, frame.box[2]); y1 = Math.max(y1, frame.box[3]);
      }
    }
    this.box = x0 <= x1 ? [x0, x1, y0, y1] : [-1, 1, -1, 1];
    this.first = Math.min(...this.branches.map(b => b.steps[0] ?? Infinity));
    this.last = Math.max(...this.branches.map(b => b.steps.at(-1) ?? -Infinity));
  }

  // Where a step lies in a branch: the frame before it, and how far it is to the next.
  place(branch, step) {
    const {frames} = branch;
    if (!frames.length) return null;
    let i = 0;
    while (i + 1 < frames.length && frames[i + 1].step <= step) i++;
    const next = frames[i + 1];
    const share = next && step > frames[i].step ? Math.min((step - frames[i].step) / (next.step - frames[i].step), 1) : 0;
    return {i, share, nearest: share >= 0.5 ? i + 1 : i};
  }
}

function boxOf(xy) {
  let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
  for (let i = 0; i < xy.length; i += 2) {
    const x = xy[i], y = xy[i + 1];
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    if (y > y1) y1 = y;
  }
  return [x0, x1, y0, y1];
}

// An order of the samples whose every beginning has every label in its proportion.
function stratified(labels, count) {
  const seen = new Map(), keys = new Float64Array(count), sizes = new Map();
  for (let s = 0; s < count; s++) sizes.set(labels?.[s] ?? 0, (sizes.get(labels?.[s] ?? 0) ?? 0) + 1);
  let state = 12345;
  const shuffled = Int32Array.from({length: count}, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  for (const s of shuffled) {
    const label = labels?.[s] ?? 0, rank = seen.get(label) ?? 0;
    seen.set(label, rank + 1);
    keys[s] = (rank + 0.5) / sizes.get(label);
  }
  return shuffled.sort((a, b) => keys[a] - keys[b]);
}

export default {
  render({model, el}) {
    const desk = deskOf(model);
    const {root, undo, end} = panelIn(el, "points", "Points: student and teachers in one plane", desk);
    const film = new Film();
    const still = window.matchMedia?.("(prefers-reduced-motion: reduce)").matches;

    // What the user set
    let mode = "lasso", lines = "pointed", zoom = 1, shiftX = 0, shiftY = 0;
    const hiddenNets = new Set(), hiddenLabels = new Set();
    // What is shown
    let time = null, scrubbing = false, flowing = false, selection = new Int32Array(0), hovered = null, lasso = null, tipAt = null;
    let views = [], box = null, glide = null, order = new Int32Array(0), movedAt = -1e9, painted = 0, spaceDown = false, player = false;
    let chosen = new Uint8Array(0);  // a sample: whether it is selected
    let palette = [], wanted = false, dirty = true, overDirty = true, stillTimer = 0;

    // The elements
    const bar = make("div", root, {class: "ka-row ka-points-bar"});
    const labelled = (text, title, rare) => {
      const label = make("label", bar, {title, class: rare ? "ka-points-rare" : null});
      make("span", label, {}, text);
      return make("select", label, {"aria-label": title});
    };
    const viewSelect = labelled("view", "How the nets are laid into the plane; the seconds are spent in the background");
    const colourSelect = labelled("colour", "What points are coloured by");
    const linesSelect = labelled("lines", "Lines join the student's point of an image to the teachers' (L)");
    for (const [value, text] of [["off", "off"], ["pointed", "pointed at"], ["0.05", "5 % of images"], ["0.2", "20 % of images"], ["1", "all images"]]) {
      make("option", linesSelect, {value, selected: value === lines}, text);
    }
    const spaceSelect = labelled("space", "Which arrays of the nets are drawn", true);
    const fitButton = button(bar, "fit axes", "Fit the axes anew to the snapshots there are by now", () => ask({fit: true}), {class: "ka-points-rare"});
    const saveSelect = make("select", bar, {class: "ka-points-save ka-points-rare", "aria-label": "Save the picture", title: "Save the picture from the browser"});
    for (const [value, text] of [["", "save"], ["png", "PNG"], ["svg", "SVG"]]) make("option", saveSelect, {value}, text);
    const buttons = make("span", bar, {class: "ka-points-buttons"});
    const lassoButton = iconButton(buttons, "lasso", "Select with a lasso or a click (shift adds, ctrl or alt removes)", () => setMode("lasso"), {class: "ka-toggle"});
    const panButton = iconButton(buttons, "pan", "Move the picture by dragging (also: middle button, or hold space)", () => setMode("pan"), {class: "ka-toggle"});
    iconButton(buttons, "smaller", "Zoom out (−)", () => zoomBy(1 / 1.4), {class: "ka-points-rare"});
    iconButton(buttons, "larger", "Zoom in (+)", () => zoomBy(1.4), {class: "ka-points-rare"});
    iconButton(buttons, "reset", "Show everything (0)", reset);
    const fullButton = iconButton(buttons, "full", "Full size (F); Esc leaves", () => setFull(!full));
    const moreButton = iconButton(buttons, "more", "More controls", () => {
      root.classList.toggle("ka-more");
      moreButton.setAttribute("aria-expanded", root.classList.contains("ka-more"));
    }, {class: "ka-points-more", "aria-expanded": "false"});
    const body = make("div", root, {class: "ka-points-body"});
    const stage = make("div", body, {class: "ka-points-stage"});
    const legend = make("div", body, {class: "ka-points-legend", role: "group", "aria-label": "Legend: click hides or shows"});
    const empty = make("div", stage, {class: "ka-points-empty", hidden: true});
    const job = make("div", stage, {class: "ka-points-job", hidden: true, role: "status"});
    const timeRow = make("div", root, {class: "ka-points-time ka-waiting"});  // its room is kept until it is clear who has the time
    const slider = make("input", timeRow, {type: "range", step: "any", "aria-label": "Step that is looked at"});
    const stepOutput = make("output", timeRow, {class: "ka-numbers"});
    const note = make("div", root, {class: "ka-points-note"});
    const tip = make("div", root, {class: "ka-tip ka-points-tip", hidden: true, role: "tooltip"});

    const ask = message => desk.post({do: "points", panel: model.get("id"), ...message});

    // Data

    let reading = false;
    function readSoon() {
      if (reading) return;
      reading = true;
      requestAnimationFrame(() => { reading = false; read(); });
    }

    function read() {
      const before = views.map(view => view.now), fit = film.fit, how = film.how, wasPoints = film.points, names = film.names;
      if (!film.read(model)) return;
      film.fit = film.picture.fit;
      film.how = film.picture.how;
      film.names = film.branches.map(b => b.name).join("\n");
      const same = film.points === wasPoints && film.names === names;
      const task = film.classes.tasks.length ? film.truth.subarray(0, film.samples) : null;
      if (order.length !== film.samples || film.orderOf !== task?.length) order = stratified(task, film.samples);
      film.orderOf = task?.length;
      makeViews();
      views.forEach((view, i) => { view.now = same && before[i] ? before[i] : null; });
      mark();
      makePalette();
      makeControls();
      makeLegend();
      wantGlide(same && (fit !== film.fit || how !== film.how || !scrubbing));
      tell();
    }

    function makeViews() {
      while (views.length > film.branches.length) views.pop().plot.remove();
      while (views.length < film.branches.length) {
        const plot = make("div", null, {class: "ka-points-plot"});
        stage.insertBefore(plot, empty);
        const under = make("canvas", plot, {"aria-hidden": "true"}), points = make("canvas", plot, {"aria-hidden": "true"});
        const over = make("canvas", plot, {class: "ka-points-over", tabindex: "0", role: "application"});
        const title = make("div", plot, {class: "ka-points-title"});
        const view = {
          plot, under, points, over, now: null, from: null, target: null, width: 0, height: 0, kinds: new Int16Array(0),
          name: make("b", title), where: make("span", title, {class: "ka-numbers"}), said: make("div", plot, {class: "ka-points-empty", hidden: true}),
        };
        views.push(view);
        watch.observe(plot);
        pointers(view);
      }
      arrange();
    }

    // Side by side, or in as many rows as make the pictures clearly larger.
    function arrange() {
      const count = Math.max(views.length, 1), side = columns => Math.min(stage.clientWidth / columns, stage.clientHeight / Math.ceil(count / columns));
      let columns = count;
      for (let fewer = count - 1; fewer > 0; fewer--) if (side(fewer) > 1.1 * side(columns)) columns = fewer;
      stage.style.setProperty("--ka-columns", columns);
    }

    function mark() {
      chosen = new Uint8Array(film.samples);
      for (const sample of selection) if (sample < film.samples) chosen[sample] = 1;
    }

    // Colours: a palette, and for every point its place in it

    function makePalette() {
      const back = rgbOf(getComputedStyle(root).backgroundColor), about = film.colouring, kind = about.kind;
      const colours = kind === "label" ? [...about.labels.map(label => label.colour), about.unknown]
        : kind === "value" ? [...Array.from({length: RAMP}, (_, i) => mapped(i / (RAMP - 1), 0, 1)), "#9a9a9a"]
        : film.nets.map(net => netColour(net, root));
      palette = colours.map(text => {
        const rgb = against(rgbOf(text), back);
        return {rgb, full: packedOf(rgb), dim: packedOf(mixed(rgb, back, 0.8))};
      });
      palette.back = packedOf(back);
      palette.nets = film.nets.map(net => written(against(rgbOf(netColour(net, root)), back)));
      views.forEach(view => { view.kindsOf = null; });
    }

    // The place in the palette of every point of a branch at a frame; made when another frame is nearest.
    function kindsOf(view, frame, next, share) {
      const about = film.colouring, key = about.fixed ? film.fixedTint : about.kind === "value" ? `${frame.step} ${share.toFixed(2)}` : frame;
      if (view.kindsOf === key && view.kinds.length === film.points) return;
      view.kindsOf = key;
      if (view.kinds.length !== film.points) view.kinds = new Int16Array(film.points);
      const {kinds} = view, tint = frame.tint, later = next?.tint;
      if (about.kind === "label") {
        const unknown = about.labels.length;
        for (let p = 0; p < kinds.length; p++) kinds[p] = tint[p] >= 0 ? tint[p] : unknown;
      } else if (about.kind === "value") {
        const scale = (RAMP - 1) / (about.high - about.low || 1);
        for (let p = 0; p < kinds.length; p++) {
          let value = tint[p];
          if (later && share > 0 && later[p] === later[p]) value += share * (later[p] - value);
          kinds[p] = value === value ? Math.min(Math.max(Math.round((value - about.low) * scale), 0), RAMP - 1) : RAMP;
        }
      } else {
        for (let p = 0; p < kinds.length; p++) kinds[p] = Math.floor(p / film.samples);
      }
    }

    // Time

    const stepNow = () => Math.min(Math.max(time ?? film.last, film.first), film.last);

    function wantGlide(smooth) {
      if (smooth && !still && views.some(view => view.now)) {
        const start = performance.now();
        for (const view of views) view.from = view.now ? view.now.slice() : null;
        glide = {start, long: flowing ? 260 : GLIDE, box: box ? [...box] : null};
      } else {
        glide = null;
      }
      changed();
    }

    // Positions at the step looked at, between two stored frames as they lie; on the way there while it glides.
    function position(now) {
      const step = stepNow(), way = glide ? Math.min((now - glide.start) / glide.long, 1) : 1, eased = 1 - (1 - way) ** 3;
      const aim = film.box;
      let far = Boolean(glide?.box) && aim.some((side, i) => Math.abs(side - glide.box[i]) > 1e-7);  // whether anything has to move
      views.forEach((view, index) => {
        const branch = film.branches[index], place = film.place(branch, step);
        view.place = place;
        if (!place) { view.frame = null; return; }
        const frame = branch.frames[place.i], next = branch.frames[place.i + 1], share = place.share;
        view.frame = branch.frames[place.nearest];
        if (!view.now || view.now.length !== 2 * film.points) view.now = new Float32Array(2 * film.points);
        const out = view.now, a = frame.xy, b = next?.xy, from = glide?.from === null ? null : view.from;
        const gliding = glide && from && from.length === out.length;
        for (let i = 0; i < out.length; i++) {
          let x = a[i];
          if (share > 0) {
            const y = x + share * (b[i] - x);
            x = y === y ? y : share < 0.5 ? x : b[i];
          }
          if (gliding) {
            if (x !== from[i] && x === x) far = true;
            const y = from[i] + eased * (x - from[i]);
            if (y === y) x = y;
          }
          out[i] = x;
        }
        kindsOf(view, film.colouring.kind === "value" ? frame : view.frame, next, share);
      });
      box = glide?.box ? aim.map((side, i) => glide.box[i] + eased * (side - glide.box[i])) : aim;
      if (glide && (way >= 1 || !far)) { glide = null; for (const view of views) view.from = null; }
    }

    // Screen

    function lens(view) {
      const margin = Math.min(Math.max(18, 0.045 * Math.min(view.width, view.height)), 0.12 * view.height), top = margin + Math.min(10, 0.05 * view.height);
      const [x0, x1, y0, y1] = box;
      const scale = zoom * Math.min((view.width - 2 * margin) / Math.max(x1 - x0, 1e-9), (view.height - top - margin) / Math.max(y1 - y0, 1e-9));
      const cx = (x0 + x1) / 2 + shiftX, cy = (y0 + y1) / 2 + shiftY;
      return {scale, ox: view.width / 2 - cx * scale, oy: (view.height + top - margin) / 2 + cy * scale};
    }

    function markerSize(view, count) {
      const type = parseFloat(getComputedStyle(root).fontSize) / 13;
      const room = Math.sqrt(view.width * view.height / Math.max(count, 1));
      return Math.min(Math.max(0.9 + 0.16 * room, 1.5), 5) * type * Math.min(zoom ** 0.25, 1.8);
    }

    function changed() { dirty = true; request(); }
    function pointedChanged() { overDirty = true; request(); }
    function request() { if (!wanted) { wanted = true; requestAnimationFrame(tick); } }

    // The next picture of a glide. While a run plays there are few: training has the machine.
    let pause = 0;
    function requestLater() {
      const rest = flowing ? Math.max(70, 10 * Number(root.dataset.cost)) : Number(root.dataset.cost);
      clearTimeout(pause);
      if (rest < 8) request();
      else pause = setTimeout(request, rest);
    }

    function moves() {
      movedAt = performance.now();
      clearTimeout(stillTimer);
      stillTimer = setTimeout(() => { if (film.points * views.length > MOVING_MOST) changed(); }, STILL_AFTER + 20);
    }

    function tick(now) {
      wanted = false;
      if (!root.isConnected) return;
      if (glide) { dirty = true; moves(); }
      if (dirty && box !== undefined) {
        dirty = false;
        overDirty = true;
        const begun = performance.now();
        if (views.length) position(now);
        const all = film.points * views.length, moving = scrubbing || flowing || performance.now() - movedAt < STILL_AFTER;
        const share = moving && all > MOVING_MOST ? MOVING_MOST / all : 1, count = Math.round(share * film.samples);
        let drawn = 0;
        for (const view of views) { if (resized(view)) { drawUnder(view, count); drawn += drawPoints(view, count); } }
        painted++;
        const data = root.dataset;
        data.painted = painted;
        data.points = drawn;
        data.step = String(Math.round(1000 * stepNow()) / 1000);
        data.frame = String(views[0]?.place?.nearest ?? -1);
        data.cost = (performance.now() - begun).toFixed(1);
        words(count);
      }
      if (overDirty) { overDirty = false; for (const view of views) if (view.width) drawOver(view); showTip(); }
      if (glide) requestLater();
    }

    function resized(view) {
      const ratio = window.devicePixelRatio || 1, width = view.plot.clientWidth, height = view.plot.clientHeight;
      if (!width || !height) return false;
      const w = Math.round(width * ratio), h = Math.round(height * ratio);
      view.ratio = ratio;
      view.width = width;
      view.height = height;
      if (view.points.width !== w || view.points.height !== h) {
        for (const canvas of [view.under, view.points, view.over]) { canvas.width = w; canvas.height = h; }
        view.image = null;
      }
      return true;
    }

    function context(canvas, view) {
      const ctx = canvas.getContext("2d");
      ctx.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
      ctx.clearRect(0, 0, view.width, view.height);
      return ctx;
    }

    const visible = (net, kind) => !hiddenNets.has(film.nets[net].name) && !hiddenLabels.has(kind);

    function drawUnder(view, count) {
      const ctx = context(view.under, view);
      if (!view.frame) return;
      const {scale, ox, oy} = (view.lens = lens(view)), line = styleOf(root, "--ka-line");
      // a quiet grid: round distances in the plane
      const rough = 90 / scale, unit = 10 ** Math.floor(Math.log10(rough)), gap = [1, 2, 5, 10].map(k => k * unit).find(k => k >= rough);
      ctx.strokeStyle = line;
      ctx.lineWidth = 1;
      ctx.globalAlpha = 0.28;
      ctx.beginPath();
      for (let x = Math.ceil((-ox / scale) / gap) * gap; x * scale + ox < view.width; x += gap) { const at = Math.round(x * scale + ox) + 0.5; ctx.moveTo(at, 0); ctx.lineTo(at, view.height); }
      for (let y = Math.ceil(((oy - view.height) / scale) / gap) * gap; oy - y * scale > 0; y += gap) { const at = Math.round(oy - y * scale) + 0.5; ctx.moveTo(0, at); ctx.lineTo(view.width, at); }
      ctx.stroke();
      ctx.globalAlpha = 1;
      const size = 0.82 * parseFloat(getComputedStyle(root).fontSize);
      ctx.font = `${size}px ${getComputedStyle(root).fontFamily}`;
      ctx.fillStyle = styleOf(root, "--ka-quiet");
      const [across, up] = film.picture.axes ?? ["", ""];
      ctx.textAlign = "right";
      if (view.width > 260) ctx.fillText(`${across} →`, view.width - 6, view.height - 6);
      ctx.save();
      ctx.translate(size + 2, view.height - 8);
      ctx.rotate(-Math.PI / 2);
      ctx.textAlign = "left";
      if (view.height > 200) ctx.fillText(`${up} →`, 0, 0);
      ctx.restore();
      // lines of a share of the images and of the selection; those of what is pointed at lie above the points
      const part = Number(lines);
      if (part > 0) {
        const most = Math.min(Math.round(part * film.samples), count);
        drawLines(ctx, view, order.subarray(0, most), most > 800 ? 0.13 : 0.26, 1);
      }
      if (lines !== "off" && selection.length) {
        const few = selection.length > LINES_MOST ? order.filter(s => chosen[s]).slice(0, LINES_MOST) : selection;
        drawLines(ctx, view, few, few.length > 200 ? 0.2 : few.length > 40 ? 0.4 : 0.8, few.length > 40 ? 1 : 1.5);
      }
    }

    // Lines from the student's point of some images to the teachers', one path a teacher.
    function drawLines(ctx, view, samples, alpha, width) {
      const {now, lens: {scale, ox, oy}} = view, n = film.samples;
      const start = Math.max(film.nets.findIndex(net => net.name === "student"), 0);
      if (hiddenNets.has(film.nets[start]?.name)) return;
      ctx.globalAlpha = alpha;
      ctx.lineWidth = width;
      film.nets.forEach((net, index) => {
        if (index === start || hiddenNets.has(net.name)) return;
        ctx.strokeStyle = palette.nets[index];
        ctx.beginPath();
        for (const s of samples) {
          const a = 2 * (start * n + s), b = 2 * (index * n + s);
          if (now[a] !== now[a] || now[b] !== now[b] || hiddenLabels.has(view.kinds[a / 2]) || hiddenLabels.has(view.kinds[b / 2])) continue;
          ctx.moveTo(now[a] * scale + ox, oy - now[a + 1] * scale);
          ctx.lineTo(now[b] * scale + ox, oy - now[b + 1] * scale);
        }
        ctx.stroke();
      });
      ctx.globalAlpha = 1;
    }

    function stampsOf(view, size) {
      const ratio = view.ratio, key = `${size.toFixed(2)} ${ratio} ${film.nets.map(net => net.marker).join("")}`;
      if (view.stampKey !== key) {
        view.stampKey = key;
        const line = Math.max(1.25, 0.36 * size) * ratio;
        const made = times => film.nets.map(net => new Stamp(net.marker, size * ratio * times * (net.marker === "o" ? 0.98 : 1.02), Math.min(0.9, 0.3 * size) * ratio, line));
        view.stamps = [made(1), made(1.55)];
      }
      return view.stamps;
    }

    const nets = () => film.nets.map((_, i) => i).sort((a, b) => (film.nets[a].name === "student") - (film.nets[b].name === "student"));

    // All points of a branch, or of the first `count` samples of the stratified order; says how many lie in the picture.
    function drawPoints(view, count) {
      const ctx = view.points.getContext("2d", {willReadFrequently: true}), w = view.points.width, h = view.points.height;
      if (!view.image) {
        view.image = ctx.createImageData(w, h);
        view.pixels = new Uint32Array(view.image.data.buffer);
      }
      const {image, pixels, now, kinds} = view, bytes = image.data, length = pixels.length, n = film.samples;
      pixels.fill(0);
      let drawn = 0;
      if (view.frame && !view.frame.said) {
        const {scale, ox, oy} = view.lens, ratio = view.ratio, some = selection.length > 0, all = count >= n;
        const [small, large] = stampsOf(view, markerSize(view, count * film.nets.length));
        // pass 0: what is not selected while something is; pass 1: the rest, larger where it is selected
        for (let pass = some ? 0 : 1; pass < 2; pass++) {
          for (const net of nets()) {
            if (hiddenNets.has(film.nets[net].name)) continue;
            const shape = pass && some ? large[net] : small[net], reach = shape.reach;
            for (let k = 0; k < count; k++) {
              const s = all ? k : order[k], p = net * n + s, kind = kinds[p];
              if (some && chosen[s] !== pass) continue;
              const x = (now[2 * p] * scale + ox) * ratio, y = (oy - now[2 * p + 1] * scale) * ratio;
              if (!(x > -reach && y > -reach && x < w + reach && y < h + reach) || hiddenLabels.has(kind)) continue;
              drawn++;
              const px = Math.floor(x), py = Math.floor(y);
              if (px < reach || px >= w - reach) {
                // at the sides a list of pixels would go on in the next line
                if (px < 0 || px >= w) continue;
                const tone = pass || !some ? palette[kind].full : palette[kind].dim;
                sideStamp(pixels, bytes, shape.at(0, w).face, px, py, tone, w, h, reach);
                continue;
              }
              const list = shape.at(Math.floor((y - py) * PHASES) * PHASES + Math.floor((x - px) * PHASES), w), at = py * w + px;
              const tone = pass || !some ? palette[kind].full : palette[kind].dim;
              if (list.rim) stamp(pixels, bytes, list.rim, at, palette.back, length);
              stamp(pixels, bytes, list.face, at, tone, length);
            }
          }
        }
      }
      ctx.putImageData(image, 0, 0);
      return drawn;
    }

    function sideStamp(pixels, bytes, list, px, py, colour, w, h, reach) {
      for (let k = 0; k < list.offsets.length; k++) {
        const offset = list.offsets[k], dy = Math.round(offset / w), x = px + offset - dy * w, y = py + dy;
        if (x >= 0 && x < w && y >= 0 && y < h && list.alphas[k] > 127) pixels[y * w + x] = (0xff000000 | colour) >>> 0;
      }
    }

    function drawOver(view) {
      const ctx = context(view.over, view);
      if (!view.frame || !view.now || !view.lens) return;
      const {scale, ox, oy} = view.lens, n = film.samples, size = markerSize(view, n * film.nets.length);
      if (hovered !== null && hovered < n) {
        if (lines !== "off") drawLines(ctx, view, [hovered], 0.95, 2);
        for (const net of nets()) {
          const p = net * n + hovered, x = view.now[2 * p] * scale + ox, y = oy - view.now[2 * p + 1] * scale;
          if (x !== x || !visible(net, view.kinds[p])) continue;
          ctx.beginPath();
          tracePath(ctx, film.nets[net].marker, x, y, 1.75 * size + 1.5);
          ctx.fillStyle = styleOf(root, "--ka-back");
          ctx.fill();
          ctx.fillStyle = written(palette[view.kinds[p]]?.rgb ?? [128, 128, 128]);
          if (film.nets[net].marker === "o") ctx.fill();
          ctx.strokeStyle = film.nets[net].marker === "o" ? styleOf(root, "--ka-front") : ctx.fillStyle;
          ctx.lineWidth = film.nets[net].marker === "o" ? 1.5 : 2.6;
          ctx.stroke();
        }
      }
      if (lasso?.view === view && lasso.path.length > 1) {
        ctx.beginPath();
        lasso.path.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
        ctx.closePath();
        const accent = styleOf(root, "--ka-accent");
        ctx.fillStyle = accent;
        ctx.globalAlpha = 0.12;
        ctx.fill();
        ctx.globalAlpha = 1;
        ctx.strokeStyle = accent;
        ctx.lineWidth = 1.5;
        ctx.setLineDash([5, 3]);
        ctx.stroke();
        ctx.setLineDash([]);
      }
    }

    // Words

    function words(count) {
      const step = Number.isFinite(stepNow()) ? stepNow() : 0, whole = Math.abs(step - Math.round(step)) < 0.05 ? String(Math.round(step)) : step.toFixed(1);
      film.branches.forEach((branch, i) => {
        const view = views[i], frame = view.frame;
        view.name.textContent = film.branches.length > 1 ? branch.name : "";
        view.name.hidden = film.branches.length < 2;
        const own = branch.steps.length && step > branch.steps.at(-1) ? branch.steps.at(-1) : branch.steps.length && step < branch.steps[0] ? branch.steps[0] : null;
        view.where.textContent = !frame ? "no frame yet" : `step ${own ?? whole}${view.width < 380 && film.branches.length > 1 ? "" : ` · ${frame.stage}`}`;
        view.where.title = frame?.stage ?? "";
        view.said.hidden = !frame?.said;
        view.said.textContent = frame?.said ?? "";
        view.over.setAttribute("aria-label", `${film.picture.label} of the ${film.picture.space}, ${branch.name}, step ${whole}: ${film.samples} images of ${film.nets.map(net => net.name).join(", ")}. ${frame?.note ?? ""}`);
      });
      const frame = views.find(view => view.frame)?.frame, parts = [];
      if (frame) {
        const kept = views.map(view => view.frame?.note.match(/^keeps (\S+) of the variance$/)?.[1] ?? "–");
        if (film.picture.how !== "pca") parts.push(frame.note);
        else if (views.length > 1) parts.push(`PCA keeps ${kept.join(", ")} of the variance`);
        else if (frame.note) parts.push(`PCA ${frame.note}`);
        if (film.picture.note) parts.push(film.picture.note);
        const every = Math.max(...film.branches.map(b => b.every));
        if (every > 1) parts.push(`every ${every}${every === 2 ? "nd" : every === 3 ? "rd" : "th"} snapshot`);
        if (film.picture.behind) parts.push("the run has gone on since: choose the view again");
        if (film.colouring.said) parts.push(film.colouring.said);
        const part = Number(lines) > 0 && Number(lines) < 1 ? `lines for ${spaced(Math.round(Number(lines) * film.samples))} of ${spaced(film.samples)} images` : "";
        if (part) parts.push(part);
        if (selection.length) parts.unshift(`${spaced(selection.length)} of ${spaced(film.samples)} images selected`);
        if (count < film.samples) parts.unshift(`showing ${spaced(count * film.nets.length * views.length)} of ${spaced(film.points * views.length)} points while it moves`);
      }
      const text = parts.join(" · ");
      if (note.textContent !== text) { note.textContent = text; note.title = text; }
      empty.hidden = Boolean(film.nets.length);
      empty.textContent = film.nets.length ? "" : model.get("picture")?.empty ?? "";
      stepOutput.textContent = film.branches.length ? `step ${whole}` : "";
      if (document.activeElement !== slider || !scrubbing) slider.value = step;
      root.setAttribute("aria-label", `Points: ${film.picture.label ?? ""} of the ${film.picture.space ?? ""}, step ${whole}, ${text}`);
    }

    function options(select, wantedOptions, value) {
      const key = JSON.stringify(wantedOptions);
      if (select.dataset.key !== key) {
        select.dataset.key = key;
        select.replaceChildren(...wantedOptions.map(([name, text]) => make("option", null, {value: name}, text)));
      }
      select.value = value;
    }

    function makeControls() {
      const {picture, colouring} = film, busy = model.get("job")?.how;
      options(viewSelect, (picture.views ?? []).map(way => [way.name, way.name === "pca" ? way.label : `${way.label} (≈ ${seconds(way.seconds)})`]), busy ?? picture.how);
      options(colourSelect, Object.entries(colouring.ways ?? {}), colouring.by);
      options(spaceSelect, (picture.spaces ?? []).map(space => [space.name, space.label]), picture.of);
      spaceSelect.parentElement.hidden = (picture.spaces ?? []).length < 2;
      fitButton.disabled = picture.how !== "pca";
      for (const select of [viewSelect, colourSelect, linesSelect, spaceSelect, saveSelect]) select.disabled = !film.nets.length;
      slider.min = film.first;
      slider.max = film.last;
      slider.disabled = !(film.first < film.last);
    }

    function makeLegend() {
      const about = film.colouring, {scrollTop} = legend;
      const rows = [];
      const item = (text, pressed, press, draw) => {
        const made = button(null, "", `${text}: click hides or shows it, with alt only it`, press, {"aria-pressed": String(pressed)});
        const canvas = make("canvas", made, {"aria-hidden": "true"}), ratio = window.devicePixelRatio || 1;
        canvas.width = canvas.height = Math.round(18 * ratio);
        const ctx = canvas.getContext("2d");
        ctx.scale(ratio, ratio);
        draw(ctx);
        make("span", made, {}, text);
        rows.push(made);
      };
      const toggle = (set, name, names) => event => {
        if (event.altKey) {
          const only = names.every(other => set.has(other) === (other !== name));
          set.clear();
          if (!only) for (const other of names) if (other !== name) set.add(other);
        } else if (!set.delete(name)) {
          set.add(name);
        }
        makeLegend();
        changed();
      };
      if (film.nets.length) rows.push(make("h4", null, {}, "net"));
      film.nets.forEach((net, i) => item(net.name, !hiddenNets.has(net.name), toggle(hiddenNets, net.name, film.nets.map(one => one.name)), ctx => {
        const colour = about.kind === "net" || !about.kind ? palette.nets[i] : styleOf(root, "--ka-front");
        ctx.beginPath();
        tracePath(ctx, net.marker, 9, 9, 5.5);
        ctx.fillStyle = ctx.strokeStyle = colour;
        ctx.lineWidth = 1.8;
        if (net.marker === "o") ctx.fill();
        else ctx.stroke();
      }));
      if (about.kind === "label") {
        rows.push(make("h4", null, {}, about.legend));
        const every = about.labels.map((_, i) => i);
        about.labels.forEach((label, i) => item(label.name, !hiddenLabels.has(i), toggle(hiddenLabels, i, every), ctx => {
          ctx.fillStyle = written(palette[i].rgb);
          ctx.beginPath();
          ctx.roundRect(3, 3, 12, 12, 3);
          ctx.fill();
        }));
      } else if (about.kind === "value") {
        rows.push(make("h4", null, {}, about.unit));
        const ramp = make("div", null, {class: "ka-points-ramp"});
        ramp.style.background = `linear-gradient(90deg, ${VIRIDIS.map(c => `rgb(${c.join(",")})`).join(",")})`;
        const ends = make("div", null, {class: "ka-points-ends ka-numbers ka-small"});
        make("span", ends, {}, readable(about.low, 2));
        make("span", ends, {}, `${readable(about.high, 2)}`);
        rows.push(ramp, ends);
      }
      legend.replaceChildren(...rows);
      legend.scrollTop = scrollTop;
    }

    function showJob() {
      const about = model.get("job") ?? {}, trouble = model.get("trouble");
      job.hidden = !about.how && !trouble;
      job.classList.toggle("ka-points-trouble", Boolean(trouble));
      if (about.how) {
        if (job.dataset.kind !== "job") {
          job.dataset.kind = "job";
          job.replaceChildren();
          make("span", job);
          make("progress", job, {max: 1});
          button(job, "cancel", "End it; the picture stays as it is", () => ask({cancel: true}));
        }
        const left = about.announced ? ` of about ${seconds(about.announced)}` : "";
        job.children[0].textContent = `${about.name} ${Math.round(100 * about.share)} %${left}`;
        job.children[0].title = about.words;
        job.children[1].value = about.share;
      } else if (trouble) {
        job.dataset.kind = "trouble";
        job.replaceChildren();
        make("span", job, {}, trouble);
        button(job, "close", "Hide this", () => { job.hidden = true; });
      }
      if (film.picture.how) viewSelect.value = about.how ?? film.picture.how;
    }

    // Images

    let sheet = null;
    const single = new Map();
    async function readSheet() {
      const data = model.get("sheet");
      if (!data?.byteLength) return;
      sheet = await createImageBitmap(new Blob([data], {type: "image/png"})).catch(() => null);
      pointedChanged();
    }

    function imageOf(sample) {
      const about = model.get("sheet_about") ?? {};
      if (!about.count) return null;
      if (sheet) return {from: sheet, x: (sample % about.columns) * about.width, y: Math.floor(sample / about.columns) * about.height, width: about.width, height: about.height};
      if (model.get("sheet")?.byteLength) return null;
      if (single.has(sample)) {
        const bitmap = single.get(sample);
        return bitmap && {from: bitmap, x: 0, y: 0, width: bitmap.width, height: bitmap.height};
      }
      single.set(sample, null);
      ask({image: sample});
      return null;
    }

    // The tip: the image, its class, and what every net says

    let tipKey = "";
    function showTip() {
      if (hovered === null || !tipAt || hovered >= film.samples || lasso) { tip.hidden = true; tipKey = ""; return; }
      const {view, x, y} = tipAt, branch = film.branches[views.indexOf(view)], frame = view.frame;
      if (!branch || !frame) { tip.hidden = true; return; }
      const image = imageOf(hovered), key = `${hovered} ${frame.step} ${branch.name} ${image ? 1 : 0} ${film.picture.fit}`;
      if (key !== tipKey) {
        tipKey = key;
        tip.replaceChildren();
        const s = hovered, {names, rows, tasks, knows} = film.classes, n = film.samples;
        const truth = Object.fromEntries(tasks.map((task, i) => [task, film.truth[i * n + s]]));
        const top = make("div", tip, {class: "ka-points-tip-top"});
        if (image) {
          const side = Math.round(5.2 * parseFloat(getComputedStyle(root).fontSize)), fit = side / Math.max(image.width, image.height);
          const canvas = make("canvas", top);
          canvas.width = image.width;
          canvas.height = image.height;
          canvas.style.width = `${image.width * fit}px`;
          canvas.style.height = `${image.height * fit}px`;
          canvas.getContext("2d").drawImage(image.from, image.x, image.y, image.width, image.height, 0, 0, image.width, image.height);
        }
        const right = make("div", top);
        make("div", right, {class: "ka-quiet ka-small"}, `image ${film.index[s]}`);
        tasks.forEach(task => { if (truth[task] >= 0) make("div", right, {class: "ka-head"}, `${tasks.length > 1 ? `${task}: ` : ""}${names[truth[task]]}`); });
        const table = make("table", right);
        let student = 0, teacher = 0;
        for (const [net, task] of rows) {
          const own = net === "student", packed = own ? frame.answers[student++ * n + s] : film.teachers[teacher++ * n + s];
          const known = truth[task] === undefined || truth[task] < 0 || own || (knows[net] ?? []).includes(truth[task]);
          const line = make("tr", table), mark = make("canvas", make("td", line)), ratio = window.devicePixelRatio || 1;
          mark.width = mark.height = Math.round(14 * ratio);
          const look = film.nets.find(one => one.name === net), ctx = mark.getContext("2d");
          ctx.scale(ratio, ratio);
          if (look) drawMarker(ctx, look.marker, 7, 7, 4.6, palette.nets[film.nets.indexOf(look)]);
          make("td", line, {}, net);
          make("td", line, {}, packed < 0 ? "–" : names[packed >> 8]);
          make("td", line, {class: "ka-numbers"}, packed < 0 ? "" : `${Math.round((packed & 255) / 2.55)} %`);
          if (!known) { line.classList.add("ka-points-outside"); line.title = "does not know this class"; }
          else if (packed >= 0 && truth[task] >= 0 && packed >> 8 !== truth[task]) line.classList.add("ka-points-wrong");
        }
      }
      tip.hidden = false;
      const place = view.plot.getBoundingClientRect(), whole = root.getBoundingClientRect();
      const left = place.left - whole.left + x, up = place.top - whole.top + y, {offsetWidth, offsetHeight} = tip;
      const beside = left + 16 + offsetWidth < root.clientWidth ? left + 16 : left - 16 - offsetWidth;
      const below = up + 14 + offsetHeight < root.clientHeight ? up + 14 : up - 14 - offsetHeight;
      tip.style.left = `${Math.max(beside, 2)}px`;
      tip.style.top = `${Math.min(Math.max(below, 2), Math.max(root.clientHeight - offsetHeight - 2, 2))}px`;
    }

    // Pointing

    // The sample of the nearest visible point within reach of a place, or null.
    function nearest(view, x, y) {
      if (!view.frame || view.frame.said || !view.now || !view.lens) return null;
      const {scale, ox, oy} = view.lens, {now, kinds} = view, n = film.samples;
      let best = REACH * REACH, found = null;
      for (let net = 0; net < film.nets.length; net++) {
        if (hiddenNets.has(film.nets[net].name)) continue;
        for (let s = 0, p = net * n; s < n; s++, p++) {
          const dx = now[2 * p] * scale + ox - x, dy = oy - now[2 * p + 1] * scale - y, far = dx * dx + dy * dy;
          if (far < best && !hiddenLabels.has(kinds[p])) { best = far; found = s; }
        }
      }
      return found;
    }

    function enclosed(view, polygon) {
      const {scale, ox, oy} = view.lens, {now, kinds} = view, n = film.samples, found = new Uint8Array(n);
      let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
      for (const [x, y] of polygon) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
      for (let net = 0; net < film.nets.length; net++) {
        if (hiddenNets.has(film.nets[net].name)) continue;
        for (let s = 0, p = net * n; s < n; s++, p++) {
          if (found[s]) continue;
          const x = now[2 * p] * scale + ox, y = oy - now[2 * p + 1] * scale;
          if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && !hiddenLabels.has(kinds[p]) && inside(x, y, polygon)) found[s] = 1;
        }
      }
      return found;
    }

    function select(found, event) {
      const add = event.shiftKey, remove = event.ctrlKey || event.altKey || event.metaKey, next = [];
      for (let s = 0; s < film.samples; s++) {
        if (remove ? chosen[s] && !found[s] : found[s] || (add && chosen[s])) next.push(s);
      }
      setSelection(next);
    }

    function setSelection(samples) {
      const array = Int32Array.from(samples);
      desk.emit("selection", array);
      desk.post({do: "select", samples: Array.from(array)});
    }

    function hover(sample) {
      if (sample !== hovered) desk.emit("hover", sample);
    }

    function pointers(view) {
      const canvas = view.over, at = event => { const b = canvas.getBoundingClientRect(); return [event.clientX - b.left, event.clientY - b.top]; };
      let drag = null, waiting = null;
      canvas.addEventListener("pointerdown", event => {
        if (event.button > 1 || (event.button === 0 && !view.lens)) return;
        canvas.focus({preventScroll: true});
        try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone */ }
        const [x, y] = at(event);
        if (event.button === 1 || mode === "pan" || spaceDown) {
          event.preventDefault();
          drag = {x, y};
        } else {
          lasso = {view, path: [[x, y]]};
        }
      });
      canvas.addEventListener("pointermove", event => {
        const [x, y] = at(event);
        if (drag) {
          shiftX -= (x - drag.x) / view.lens.scale;
          shiftY += (y - drag.y) / view.lens.scale;
          drag = {x, y};
          moves();
          changed();
        } else if (lasso?.view === view) {
          const last = lasso.path.at(-1);
          if (Math.hypot(x - last[0], y - last[1]) >= 2) { lasso.path.push([x, y]); pointedChanged(); }
        } else {
          tipAt = {view, x, y};
          waiting ??= requestAnimationFrame(() => { waiting = null; if (tipAt) { hover(nearest(view, tipAt.x, tipAt.y)); pointedChanged(); } });
        }
      });
      const done = event => {
        drag = null;
        if (lasso?.view !== view) return;
        const {path} = lasso;
        lasso = null;
        if (event.type === "pointercancel") { pointedChanged(); return; }
        const long = path.reduce((sum, [x, y], i) => (i ? sum + Math.hypot(x - path[i - 1][0], y - path[i - 1][1]) : 0), 0);
        if (long < 5) {
          const sample = nearest(view, ...path[0]);
          if (sample !== null) { const found = new Uint8Array(film.samples); found[sample] = 1; select(found, event); }
          else if (!event.shiftKey && selection.length) setSelection([]);
        } else {
          select(enclosed(view, path), event);
        }
        pointedChanged();
      };
      canvas.addEventListener("pointerup", done);
      canvas.addEventListener("pointercancel", done);
      canvas.addEventListener("pointerleave", () => { if (tipAt?.view === view) { tipAt = null; hover(null); pointedChanged(); } });
      // Only where the picture was clicked before, or with ctrl: else the wheel scrolls the notebook past it.
      canvas.addEventListener("wheel", event => {
        if (document.activeElement !== canvas && !event.ctrlKey && !full) return;
        event.preventDefault();
        const [x, y] = at(event);
        zoomBy(Math.exp(-0.0016 * Math.min(Math.max(event.deltaY * (event.deltaMode ? 30 : 1), -240), 240)), view, x, y);
      }, {passive: false});
      canvas.addEventListener("auxclick", event => event.preventDefault());
    }

    // Zoom around a place of a picture, or its middle: what lies there stays there.
    function zoomBy(factor, view = views[0], x = view?.width / 2, y = view?.height / 2) {
      if (!view?.lens) return;
      const next = Math.min(Math.max(zoom * factor, 0.5), 60), grown = next / zoom, {scale} = view.lens;
      shiftX += ((x - view.width / 2) / scale) * (1 - 1 / grown);
      shiftY -= ((y - (view.lens.oy - ((box[2] + box[3]) / 2 + shiftY) * scale)) / scale) * (1 - 1 / grown);
      zoom = next;
      moves();
      changed();
    }

    function reset() {
      zoom = 1;
      shiftX = shiftY = 0;
      moves();
      changed();
    }

    function setMode(next) {
      mode = next;
      lassoButton.setAttribute("aria-pressed", String(mode === "lasso"));
      panButton.setAttribute("aria-pressed", String(mode === "pan"));
      root.classList.toggle("ka-panning", mode === "pan");
    }

    function setLines(value) {
      lines = value;
      linesSelect.value = value;
      changed();
    }

    // Full size: the panel moves to the page itself, as cells of a notebook hold back what is fixed in them.
    let full = null;
    function setFull(wish) {
      if (wish === Boolean(full)) return;
      if (wish) {
        full = make("div", document.body, {class: "ka-points-full-cell"});
        if (el.closest(".ka-projector")) full.classList.add("ka-projector");
        full.appendChild(root);
      } else {
        el.appendChild(root);
        full.remove();
        full = null;
      }
      fullButton.setAttribute("aria-pressed", String(wish));
      changed();
      views[0]?.over.focus({preventScroll: true});
    }

    // Saving

    function scene(view) {
      const {scale, ox, oy} = view.lens, n = film.samples, size = markerSize(view, n * film.nets.length), some = selection.length > 0;
      const groups = new Map();
      for (let pass = some ? 0 : 1; pass < 2; pass++) {
        for (const net of nets()) {
          if (hiddenNets.has(film.nets[net].name)) continue;
          for (let s = 0; s < n; s++) {
            const p = net * n + s, kind = view.kinds[p], x = view.now[2 * p] * scale + ox, y = oy - view.now[2 * p + 1] * scale;
            if (x !== x || hiddenLabels.has(kind) || (some && chosen[s] !== pass) || x < 0 || y < 0 || x > view.width || y > view.height) continue;
            const key = `${pass} ${net} ${kind}`;
            if (!groups.has(key)) {
              const {full: packed, dim} = palette[kind], colour = pass ? packed : dim;
              groups.set(key, {marker: film.nets[net].marker, colour: written([colour & 255, (colour >> 8) & 255, (colour >> 16) & 255]), size: size * (pass && some ? 1.55 : 1), places: []});
            }
            groups.get(key).places.push(x, y);
          }
        }
      }
      return [...groups.values()];
    }

    const escaped = text => String(text).replace(/[&<>"]/g, letter => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}[letter]));

    function pathOf(marker, places, size) {
      const parts = [], short = value => value.toFixed(2);
      for (let i = 0; i < places.length; i += 2) {
        const x = places[i], y = places[i + 1];
        if (marker === "o") {
          const r = size * 0.9;
          parts.push(`M${short(x - r)} ${short(y)}a${short(r)} ${short(r)} 0 1 0 ${short(2 * r)} 0a${short(r)} ${short(r)} 0 1 0 ${short(-2 * r)} 0`);
        } else {
          parts.push(`M${(CORNERS[marker] ?? CORNERS.s).map(([dx, dy]) => `${short(x + size * dx)} ${short(y + size * dy)}`).join("L")}Z`);
        }
      }
      return parts.join("");
    }

    // The whole picture as SVG: what the canvases show, with title, legend and words.
    function svg() {
      const gap = 8, side = 190, top = 30, bottom = 46;
      const width = views.reduce((sum, view) => sum + view.width + gap, gap) + side;
      const keys = film.nets.length + (film.colouring.labels?.length ?? 3) + 2;
      const height = Math.max(views[0].height + top + bottom, 20 * keys + top + 10);
      const front = styleOf(root, "--ka-front"), quiet = styleOf(root, "--ka-quiet"), back = styleOf(root, "--ka-back"), line = styleOf(root, "--ka-line");
      const out = [`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="${back}"/>`];
      let left = gap;
      views.forEach((view, i) => {
        out.push(`<text x="${left}" y="20" fill="${front}" font-weight="600">${escaped(`${film.branches[i].name}, ${view.where.textContent}`)}</text>`);
        out.push(`<svg x="${left}" y="${top}" width="${view.width}" height="${view.height}">`);
        const part = Number(lines);
        const joined = part > 0 ? order.subarray(0, Math.round(part * film.samples)) : lines === "pointed" ? selection : [];
        const start = Math.max(film.nets.findIndex(net => net.name === "student"), 0), {scale, ox, oy} = view.lens ?? {};
        if (view.frame && !view.frame.said) {
          film.nets.forEach((net, index) => {
            if (index === start || hiddenNets.has(net.name) || !joined.length) return;
            const d = [];
            for (const s of joined) {
              const a = 2 * (start * film.samples + s), b = 2 * (index * film.samples + s), {now} = view;
              if (now[a] === now[a] && now[b] === now[b]) d.push(`M${(now[a] * scale + ox).toFixed(2)} ${(oy - now[a + 1] * scale).toFixed(2)}L${(now[b] * scale + ox).toFixed(2)} ${(oy - now[b + 1] * scale).toFixed(2)}`);
            }
            out.push(`<path d="${d.join("")}" stroke="${palette.nets[index]}" stroke-opacity=".3" fill="none"/>`);
          });
          for (const {marker, colour, size, places} of scene(view)) {
            out.push(`<path d="${pathOf(marker, places, size)}" ${marker === "o" ? `fill="${colour}" stroke="${back}" stroke-width=".7"` : `fill="${colour}" fill-opacity=".16" stroke="${colour}" stroke-width="1.3"`}/>`);
          }
        }
        out.push(`</svg><rect x="${left}" y="${top}" width="${view.width}" height="${view.height}" fill="none" stroke="${line}"/>`);
        left += view.width + gap;
      });
      let y = top + 12;
      const row = (text, mark, bold) => { out.push(mark ?? "", `<text x="${left + (mark ? 20 : 0)}" y="${y}" fill="${front}"${bold ? ' font-weight="600"' : ""}>${escaped(text)}</text>`); y += 20; };
      row("net", null, true);
      film.nets.forEach((net, i) => row(net.name, `<path d="${pathOf(net.marker, [left + 7, y - 4], 5)}" fill="${net.marker === "o" ? palette.nets[i] : "none"}" stroke="${palette.nets[i]}" stroke-width="1.5"/>`));
      if (film.colouring.kind === "label") {
        row(film.colouring.legend, null, true);
        film.colouring.labels.forEach((label, i) => row(label.name, `<rect x="${left + 1}" y="${y - 10}" width="11" height="11" rx="2" fill="${written(palette[i].rgb)}"/>`));
      } else if (film.colouring.kind === "value") {
        row(film.colouring.unit, null, true);
        for (let i = 0; i < 20; i++) out.push(`<rect x="${left + 7 * i}" y="${y - 10}" width="7.5" height="10" fill="${mapped(i / 19, 0, 1)}"/>`);
        y += 18;
        row(`${readable(film.colouring.low, 2)} to ${readable(film.colouring.high, 2)}`);
      }
      out.push(`<text x="${gap}" y="${top + views[0].height + 22}" fill="${quiet}" font-size="11">${escaped(note.textContent)}</text></svg>`);
      return {text: out.join("\n"), width, height};
    }

    function download(blob, ending) {
      const link = make("a", null, {href: URL.createObjectURL(blob), download: `points-${film.picture.how}-step-${Math.round(stepNow())}.${ending}`});
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    }

    async function save(kind) {
      if (!views.length || !views[0].width) return;
      const {text, width, height} = svg(), vector = new Blob([text], {type: "image/svg+xml"});
      if (kind === "svg") { download(vector, "svg"); return; }
      const picture = new Image(), address = URL.createObjectURL(vector);
      picture.src = address;
      await picture.decode();
      const canvas = document.createElement("canvas");
      canvas.width = 2 * width;
      canvas.height = 2 * height;
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      canvas.toBlob(blob => download(blob, "png"));
    }

    // Time without a player

    function goTo(step, moving) { desk.emit("time", {step, by: "points", moving}); }
    function stepBy(direction) {
      if (player) return;
      const steps = [...new Set(film.branches.flatMap(branch => branch.steps))].sort((a, b) => a - b), now = stepNow();
      const next = direction > 0 ? steps.find(step => step > now + 1e-6) : steps.findLast(step => step < now - 1e-6);
      if (next !== undefined) { goTo(next, false); desk.post({do: "place", step: next}); }
    }

    // Wiring

    viewSelect.addEventListener("change", () => ask({view: viewSelect.value}));
    colourSelect.addEventListener("change", () => ask({colour: colourSelect.value}));
    spaceSelect.addEventListener("change", () => ask({of: spaceSelect.value}));
    linesSelect.addEventListener("change", () => setLines(linesSelect.value));
    saveSelect.addEventListener("change", () => { const kind = saveSelect.value; saveSelect.value = ""; save(kind); });
    slider.addEventListener("input", () => goTo(Number(slider.value), true));
    slider.addEventListener("change", () => { goTo(Number(slider.value), false); desk.post({do: "place", step: Number(slider.value)}); });
    keysOf(root, {
      "+": () => zoomBy(1.4), "=": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4), "0": reset,
      "l": () => setLines(lines === "off" ? "pointed" : "off"), "L": () => setLines(lines === "off" ? "pointed" : "off"),
      "f": () => setFull(!full), "F": () => setFull(!full),
      "Escape": () => { if (lasso) { lasso = null; pointedChanged(); } else if (full) setFull(false); else if (selection.length) setSelection([]); },
    });
    // Keys that the player has as well are taken only where there is none, and space only over a picture.
    root.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " && event.target.classList.contains("ka-points-over")) {
        event.preventDefault();
        event.stopPropagation();
        spaceDown = true;
        root.classList.add("ka-panning");
      }
      if (!player && ["ArrowLeft", "ArrowRight"].includes(event.key) && event.target.classList.contains("ka-points-over")) {
        event.preventDefault();
        event.stopPropagation();
        stepBy(event.key === "ArrowRight" ? 1 : -1);
      }
    });
    root.addEventListener("keyup", event => { if (event.key === " ") { spaceDown = false; root.classList.toggle("ka-panning", mode === "pan"); } });
    root.addEventListener("ka-theme", () => { makePalette(); makeLegend(); changed(); });

    const watch = new ResizeObserver(() => {
      const wide = root.clientWidth / parseFloat(getComputedStyle(root).fontSize);
      root.classList.toggle("ka-tiny", wide < 28);
      root.classList.toggle("ka-narrow", wide < 36);
      root.classList.toggle("ka-medium", wide < 70);
      root.classList.toggle("ka-short", root.clientHeight < 250);
      arrange();
      changed();
    });
    watch.observe(root);
    watch.observe(stage);
    undo.push(() => watch.disconnect());
    const listen = (event, listener) => { model.on(event, listener); undo.push(() => model.off(event, listener)); };
    for (const trait of ["nets", "branches", "frames", "picture", "colouring", "tint", "classes", "answers", "fixed", "index"]) listen(`change:${trait}`, readSoon);
    for (const trait of ["job", "trouble"]) listen(`change:${trait}`, showJob);
    listen("change:sheet", readSheet);
    const selectedTrait = () => {
      const samples = integers(model.get("selected")), known = desk.value("selection");
      if (!known || known.length !== samples.length || samples.some((s, i) => s !== known[i])) desk.emit("selection", samples);
    };
    listen("change:selected", selectedTrait);
    listen("msg:custom", (message, buffers) => {
      if (message.kind === "frame") {
        if (!film.take(message, buffers)) return;
        makeControls();
        wantGlide(!scrubbing);
      } else if (message.kind === "image") {
        createImageBitmap(new Blob([buffers[0]], {type: "image/png"})).then(bitmap => { single.set(message.sample, bitmap); pointedChanged(); }, () => {});
      }
    });
    undo.push(desk.on("selection", samples => { selection = samples ?? new Int32Array(0); mark(); changed(); }));
    undo.push(desk.on("hover", sample => { hovered = sample; pointedChanged(); }));
    undo.push(desk.on("time", value => {
      if (!value) return;
      const before = stepNow(), moved = scrubbing || flowing;
      time = value.by === "points" && value.step >= film.last ? null : value.step;  // at the end it follows the run
      scrubbing = Boolean(value.moving) && value.by !== "run";
      flowing = Boolean(value.moving) && value.by === "run";
      if (scrubbing || flowing) moves();
      if (stepNow() !== before) wantGlide(!scrubbing);
      else if (moved !== (scrubbing || flowing)) changed();
    }));
    undo.push(desk.on("status", () => { player = true; timeRow.hidden = true; }));
    const lonely = setTimeout(() => { timeRow.classList.remove("ka-waiting"); }, 500);
    undo.push(() => clearTimeout(lonely), () => clearTimeout(stillTimer), () => clearTimeout(pause), () => setFull(false));

    function tell() { root.dataset.ready = "true"; }

    // What is on the screen, for whoever wants to check it: places in pixels of a branch's picture, net after net.
    root.inspect = (index = 0) => {
      const view = views[index], {scale, ox, oy} = view.lens;
      return {
        step: stepNow(), zoom, hovered, selection: Array.from(selection), gliding: Boolean(glide), samples: film.samples,
        plane: Array.from(view.now), pixels: Array.from(view.now, (value, i) => (i % 2 ? oy - value * scale : value * scale + ox)),
      };
    };

    setMode("lasso");
    read();
    selectedTrait();
    showJob();
    readSheet();
    words(film.samples);
    return end;
  },
};
