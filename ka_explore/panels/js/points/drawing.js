// When the pictures are drawn: at most once a frame of the screen, with fewer points while something moves.

const STILL_AFTER = 180;  // milliseconds without movement after which all points are drawn
const MOVING_MOST = 20000;  // points drawn while something moves

class Drawing {
  // `painted(count)` is called when the pictures of so many samples are there, `pointed()` when what lies above them is.
  constructor(scene, painted, pointed) {
    Object.assign(this, {scene, painted, pointed});
    this.count = 0;  // pictures drawn
    this.cost = 0;  // milliseconds for the last of them
    this.dirty = this.overDirty = true;
    this.wanted = false;
    this.movedAt = -1e9;
    this.stillTimer = this.pause = 0;
  }

  // Everything is to be drawn anew.
  changed() {
    this.dirty = true;
    this.request();
  }

  // Only what lies above the points is.
  pointedChanged() {
    this.overDirty = true;
    this.request();
  }

  // Something moves: all points are drawn only when it no longer does.
  moves() {
    this.movedAt = performance.now();
    clearTimeout(this.stillTimer);
    this.stillTimer = setTimeout(() => { if (this.all > MOVING_MOST) this.changed(); }, STILL_AFTER + 20);
  }

  // The pictures were moved by hand.
  moved() {
    this.moves();
    this.changed();
  }

  end() {
    clearTimeout(this.stillTimer);
    clearTimeout(this.pause);
  }

  // Points of all branches.
  get all() { return this.scene.plane.points * this.scene.views.length; }

  request() {
    if (this.wanted) return;
    this.wanted = true;
    requestAnimationFrame(now => this.tick(now));
  }

  // The next picture of a glide. While a run plays there are few: training has the machine.
  requestLater() {
    const rest = this.scene.motion.flowing ? Math.max(70, 10 * this.cost) : this.cost;
    clearTimeout(this.pause);
    if (rest < 8) this.request();
    else this.pause = setTimeout(() => this.request(), rest);
  }

  tick(now) {
    this.wanted = false;
    const {scene} = this;
    if (!scene.root.isConnected) return;
    if (scene.motion.glide) this.moves();
    if (this.dirty || scene.motion.glide) this.draw(now);
    if (this.overDirty) {
      this.overDirty = false;
      for (const view of scene.views) if (view.width) paintOver(scene, view);
      this.pointed();
    }
    if (scene.motion.glide) this.requestLater();
  }

  draw(now) {
    const {plane, motion, views, root} = this.scene, begun = performance.now();
    this.dirty = false;
    this.overDirty = true;
    if (views.length) motion.set(views, now);
    const moving = motion.moving || performance.now() - this.movedAt < STILL_AFTER;
    const share = moving && this.all > MOVING_MOST ? MOVING_MOST / this.all : 1, count = Math.round(share * plane.samples);
    let drawn = 0;
    for (const view of views) {
      if (!view.fit()) continue;
      paintUnder(this.scene, view, count);
      drawn += paintPoints(this.scene, view, count);
    }
    this.cost = performance.now() - begun;
    Object.assign(root.dataset, {
      painted: ++this.count, points: drawn, step: Math.round(1000 * motion.step) / 1000, frame: views[0]?.at?.nearest ?? -1, cost: this.cost.toFixed(1),
    });
    this.painted(count);
  }
}
