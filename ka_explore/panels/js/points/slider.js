// The time where no player has it: a slider, and the steps that the arrow keys go to.

class Slider {
  constructor(scene, session) {
    this.scene = scene;
    this.session = session;
    this.alone = true;  // no player is there
    this.row = make("div", scene.root, {class: "ka-points-time ka-waiting"});  // its room is kept until it is clear who has the time
    this.range = make("input", this.row, {type: "range", step: "any", "aria-label": "Step that is looked at"});
    this.output = make("output", this.row, {class: "ka-numbers"});
    this.range.addEventListener("input", () => this.look(Number(this.range.value), true));
    this.range.addEventListener("change", () => this.settle(Number(this.range.value)));
  }

  look(step, moving) {
    this.session.emit("time", {step, by: "points", moving});
  }

  // Look at a step and tell Python.
  settle(step) {
    this.look(step, false);
    this.session.post({do: "look", step});
  }

  // To the next stored frame (1), or the one before (-1).
  stepBy(direction) {
    const {plane, motion} = this.scene, now = motion.step;
    const steps = [...new Set(plane.branches.flatMap(branch => branch.steps))].sort((a, b) => a - b);
    const next = direction > 0 ? steps.find(step => step > now + 1e-6) : steps.findLast(step => step < now - 1e-6);
    if (next !== undefined) this.settle(next);
  }

  // From the first to the last step there is.
  update({first, last}) {
    this.range.min = first;
    this.range.max = last;
    this.range.disabled = !(first < last);
  }

  show(step, words) {
    this.output.textContent = words;
    if (document.activeElement !== this.range || !this.scene.motion.scrubbing) this.range.value = step;
  }

  // A player is there.
  giveWay() {
    this.alone = false;
    this.row.hidden = true;
  }
}
