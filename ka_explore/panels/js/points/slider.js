// The time where no player has it: a slider, and the steps that the arrow keys go to.

class Slider {
  constructor(scene, session) {
    Object.assign(this, {scene, session});
    this.row = make("div", scene.root, {class: "ka-points-time ka-waiting"});  // its room is kept until it is clear who has the time
    this.range = make("input", this.row, {type: "range", step: "any", "aria-label": "Step that is looked at"});
    this.output = make("output", this.row, {class: "ka-numbers"});
    this.range.addEventListener("input", () => session.look(Number(this.range.value), "points", true));
    this.range.addEventListener("change", () => session.look(Number(this.range.value), "points"));
  }

  // To the next stored frame (1), or the one before (-1).
  stepBy(direction) {
    const {plane, motion} = this.scene, now = motion.step;
    const steps = [...new Set(plane.branches.flatMap(branch => branch.steps))].sort((a, b) => a - b);
    const next = direction > 0 ? steps.find(step => step > now + 1e-6) : steps.findLast(step => step < now - 1e-6);
    if (next !== undefined) this.session.look(next, "points");
  }

  // From the first to the last step there is.
  update({first, last}) { Object.assign(this.range, {min: first, max: last, disabled: !(first < last)}); }

  show(step, words) {
    this.output.textContent = words;
    if (document.activeElement !== this.range || !this.scene.motion.scrubbing) this.range.value = step;
  }
}
