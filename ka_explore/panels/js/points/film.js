// The film: all frames of all branches, unpacked from the traits, and frames that come one by one while a run plays.
// A point's place in a frame is net after net, sample after sample.

class Film {
  constructor() {
    this.nets = [];
    this.branches = [];
    this.samples = 0;
    this.points = 0;
    this.picture = {};
    this.colouring = {};
    this.classes = {names: [], rows: [], tasks: [], knows: {}};
    this.order = new Int32Array(0);  // samples such that the first so many stand for all
    this.labelled = false;  // whether the order minds labels
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
    Object.assign(this, {nets, samples, points, colouring});
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
    const labelled = this.classes.tasks.length > 0;
    if (this.order.length !== samples || this.labelled !== labelled) {
      this.order = stratified(labelled ? this.truth.subarray(0, samples) : null, samples);
      this.labelled = labelled;
    }
    this.changed();
    return true;
  }

  // One more frame, while the run plays.
  take(message, buffers) {
    const branch = this.branches[message.branch];
    if (!branch || branch.name !== message.name || message.fit !== this.picture.fit || this.picture.how !== "pca") return false;
    const xy = floats(buffers[0]), tint = floats(buffers[1]), answers = integers(buffers[2]);
    if (xy.length !== 2 * this.points || (!this.colouring.fixed && message.by !== this.colouring.by)) return false;
    const {step, stage, note, said} = message, wanted = new Set(message.steps);
    const frame = {step, stage, note, said, xy, tint: this.fixedTint ?? tint, answers};
    branch.frames = [...branch.frames.filter(f => f.step !== step && wanted.has(f.step)), frame].sort((a, b) => a.step - b.step);
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

  // Where a step lies in a branch: the frame before it, how far it is to the next, and which of both is nearer.
  place(branch, step) {
    const {frames} = branch;
    if (!frames.length) return null;
    let i = 0;
    while (i + 1 < frames.length && frames[i + 1].step <= step) i++;
    const next = frames[i + 1];
    const share = next && step > frames[i].step ? Math.min((step - frames[i].step) / (next.step - frames[i].step), 1) : 0;
    return {i, share, nearest: share >= 0.5 ? i + 1 : i};
  }

  // Which net lines start from: the student, or the first where there is none.
  get student() {
    return Math.max(this.nets.findIndex(net => net.name === "student"), 0);
  }

  // The nets from the lowest to the highest: the student lies above its teachers.
  get upwards() {
    return this.nets.map((_, i) => i).sort((a, b) => (this.nets[a].name === "student") - (this.nets[b].name === "student"));
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
