// The step that is looked at, and how the points come there: between two stored frames as they lie, and gliding from
// one picture to the next when nobody drags.

const GLIDE = 420;  // milliseconds from one picture to the next
const GLIDE_FLOWING = 260;  // the same while a run plays: the next frame is soon there

class Motion {
  constructor(plane) {
    this.plane = plane;
    this.time = null;  // the step that was asked for; null follows the run
    this.scrubbing = false;  // whether somebody drags the time
    this.flowing = false;  // whether a run plays
    this.glide = null;  // {start, long, box} while points are on their way
    this.box = null;  // the part of the plane that fills a picture without zoom
    this.still = window.matchMedia?.("(prefers-reduced-motion: reduce)").matches;
  }

  get step() { return Math.min(Math.max(this.time ?? this.plane.last, this.plane.first), this.plane.last); }
  get moving() { return this.scrubbing || this.flowing; }

  // Take up what the session says of the time.
  hear({step, by, moving}) {
    this.time = by === "points" && step >= this.plane.last ? null : step;  // at the end it follows the run
    this.scrubbing = Boolean(moving) && by !== "run";
    this.flowing = Boolean(moving) && by === "run";
  }

  // From now on points glide from where they are to where they belong, or are there at once.
  begin(views, smooth) {
    this.glide = null;
    if (!smooth || this.still || !views.some(view => view.now)) return;
    for (const view of views) view.from = view.now?.slice();
    this.glide = {start: performance.now(), long: this.flowing ? GLIDE_FLOWING : GLIDE, box: this.box};
  }

  // Give every view its frame, its points' positions and their colours at this moment.
  set(views, now) {
    const {plane, glide} = this, aim = plane.box;
    const way = glide ? Math.min((now - glide.start) / glide.long, 1) : 1, eased = 1 - (1 - way) ** 3;
    let far = Boolean(glide?.box) && aim.some((side, i) => Math.abs(side - glide.box[i]) > 1e-7);  // whether anything has to move
    views.forEach((view, index) => {
      const branch = plane.branches[index], at = plane.between(branch, this.step);
      view.at = at;
      if (!at) { view.frame = null; return; }
      const frame = branch.frames[at.i], next = branch.frames[at.i + 1];
      view.frame = branch.frames[at.nearest];
      if (!view.now || view.now.length !== 2 * plane.points) view.now = new Float32Array(2 * plane.points);
      const from = glide && view.from?.length === view.now.length ? view.from : null;
      if (between(frame, next, at.share, from, eased, view.now)) far = true;
      setKinds(view, plane, plane.colouring.kind === "value" ? frame : view.frame, next, at.share);
    });
    this.box = glide?.box ? aim.map((side, i) => glide.box[i] + eased * (side - glide.box[i])) : aim;
    if (way >= 1 || !far) this.glide = null;
  }
}

// Write positions between two frames, or a part of the way there `from` others; says whether any is not there yet.
// Where a net has no point in one of the frames (NaN), it stands at the other's, and appears where it belongs.
function between(frame, next, share, from, eased, out) {
  const before = frame.xy, after = next?.xy;
  let far = false;
  for (let i = 0; i < out.length; i++) {
    let x = before[i];
    if (share > 0) {
      const y = x + share * (after[i] - x);
      x = y === y ? y : share < 0.5 ? x : after[i];
    }
    if (from) {
      if (x !== from[i] && x === x) far = true;
      const y = from[i] + eased * (x - from[i]);
      if (y === y) x = y;
    }
    out[i] = x;
  }
  return far;
}
