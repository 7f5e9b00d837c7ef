// The plane: what the film's frames have in common, where they lie in all, and which samples stand for all.
// Points lie in a frame net after net, sample after sample.
// A frame: {step, stage, xy, tint, answers, note, said, pairs, by_chance}.

class Plane {
  constructor(film) {
    this.film = film;
    this.order = new Int32Array(0);  // samples such that the first so many stand for all
    this.labelled = false;  // whether the order minds labels
    this.read();
  }

  // Take up what came.
  read() {
    const {about, branches} = this.film, {nets = [], index = [], picture = {}, colouring = {}, classes, truth, taught} = about;
    Object.assign(this, {branches, nets, index, picture, colouring, truth, taught, samples: index.length, points: nets.length * index.length});
    this.classes = classes ?? {names: [], rows: [], tasks: [], knows: {}};
    const labelled = this.classes.tasks.length > 0;
    if (this.order.length !== this.samples || this.labelled !== labelled) {
      this.order = stratified(labelled ? truth.subarray(0, this.samples) : null, this.samples);
      this.labelled = labelled;
    }
    const boxes = this.branches.flatMap(({frames}) => frames.map(frame => (frame.box ??= boxOf(frame.xy)))).filter(box => box[0] <= box[1]);
    this.box = boxes.length ? [0, 1, 2, 3].map(side => Math[side % 2 ? "max" : "min"](...boxes.map(box => box[side]))) : [-1, 1, -1, 1];
    const steps = this.branches.flatMap(({frames}) => frames.map(frame => frame.step));
    this.first = Math.min(...steps);
    this.last = Math.max(...steps);
  }

  // A frame's colours: those of all, or its own.
  tintOf(frame) { return this.colouring.fixed ? this.film.about.tint : frame?.tint; }

  // Where a step lies in a branch: the frame before it, how far it is to the next, and which of both is nearer.
  between({frames}, step) {
    if (!frames.length) return null;
    const i = Math.max(frames.findLastIndex(frame => frame.step <= step), 0), next = frames[i + 1];
    const share = next && step > frames[i].step ? Math.min((step - frames[i].step) / (next.step - frames[i].step), 1) : 0;
    return {i, share, nearest: share >= 0.5 ? i + 1 : i};
  }

  // Which net lines start from: the student, or the first where there is none.
  get student() { return Math.max(this.nets.findIndex(net => net.name === "student"), 0); }

  // The nets from the lowest to the highest: the student lies above its teachers.
  get upwards() { return [...this.nets.keys()].sort((a, b) => (this.nets[a].name === "student") - (this.nets[b].name === "student")); }
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
  const keys = new Float64Array(count), sizes = new Map(), seen = new Map();
  const counted = (counts, label) => counts.set(label, (counts.get(label) ?? 0) + 1).get(label);
  for (let s = 0; s < count; s++) counted(sizes, labels?.[s] ?? 0);
  let state = 12345;
  const shuffled = Int32Array.from({length: count}, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  for (const s of shuffled) {
    const label = labels?.[s] ?? 0;
    keys[s] = (counted(seen, label) - 0.5) / sizes.get(label);
  }
  return shuffled.sort((a, b) => keys[a] - keys[b]);
}
