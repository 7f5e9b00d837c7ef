// The history: terms of the loss over the steps, a log axis, forks over their parents.
// The parts are in history/.

export default panel("history", "history: terms of the loss over the steps", ({model, session, root, undo}) => {
  const film = filmOf(model), scene = new Scene(film, root);

  // The elements

  const head = make("div", root, {class: "ka-history-head"});
  make("span", head, {class: "ka-head"}, "terms of the loss");
  const at = make("output", head, {class: "ka-numbers ka-history-at", "aria-live": "off"});
  const note = make("span", head, {class: "ka-quiet ka-small ka-history-note"});
  const whole = button(head, "↔ all", "show all steps again (double click)", () => { scene.zoom = null; draw(); }, {class: "ka-history-whole"});
  const body = make("div", root, {class: "ka-history-body"});
  const plot = make("div", body, {class: "ka-history-plot"});
  const side = make("div", body, {class: "ka-history-side"});
  const board = sharpCanvas(plot, undo, paint, {"aria-hidden": "true"});
  const over = sharpCanvas(plot, undo, ctx => { if (scene.box) paintCursor(ctx, scene); }, {  // lines are drawn once, this follows
    class: "ka-history-over", tabindex: 0, role: "slider", "aria-label": "step that all views show; arrows move it", "aria-valuemin": 0,
    title: "click or drag: look at this step · shift and drag: zoom · double click: all steps",
  });
  const terms = termsIn(side, scene, undo, draw);
  undo.push(pointing(scene, plot, over.canvas, {look: (step, moving) => session.look(step, "history", moving), draw, follow}));

  // What is seen

  function draw() {
    tell();
    board.soon();
  }

  function follow() {
    tell();
    over.soon();
  }

  // The step whose values are told: under the pointer, or the one that is looked at.
  function tell() {
    const {pointed, last} = scene, looked = Math.round(scene.step), step = pointed ?? Math.min(scene.step, last);
    at.textContent = `step ${spaced(Math.round(step))}`;
    at.classList.toggle("ka-history-pointed", pointed !== null);
    terms.tell(step);
    setAttributes(over.canvas, {"aria-valuenow": looked, "aria-valuemax": last, "aria-valuetext": `step ${looked}`});
  }

  function paint(ctx, width, height) {
    const {fontSize, fontFamily} = getComputedStyle(root), box = axesOf(scene, width, height, parseFloat(fontSize) || 13);
    if (!box) return;
    scene.box = box;
    ctx.font = `${box.type}px ${fontFamily}`;
    ctx.fillStyle = styleOf(root, "--ka-quiet");
    paintValues(ctx, box, styleOf(root, "--ka-line"));
    paintSteps(ctx, box);
    paintStages(ctx, scene.branches, box);
    const squeezed = paintLines(ctx, scene, box);
    paintForks(ctx, scene, box);
    over.soon();
    note.textContent = note.title = remarks(box.y, squeezed);
    whole.hidden = !scene.zoom;
  }

  // What the picture leaves out.
  function remarks({empty, log}, squeezed) {
    if (empty) return scene.last ? "nothing is chosen, or no term has a value" : "no step yet: press play";
    const {branches} = scene, raw = scene.shownTerms.length * branches.length <= RAW_LINES;
    return [
      "unweighted, of each step's batch", log && "log axis", `mean of ${film.about.window} steps${raw ? ", raw faint" : ""}`,
      squeezed > 4 && `least and greatest of ~${Math.round(squeezed)} steps a pixel`,
      branches.some(branch => branch.thinned) && "of a long history only extremes are kept",
    ].filter(Boolean).join(" · ");
  }

  function renew() {
    film.branches.forEach(takeRows);
    terms.update();
    draw();
  }

  undo.push(film.on(renew), session.on("time", value => { scene.time = value.step; follow(); }));
  root.addEventListener("ka-theme", draw);
  renew();
});
