// The points panel: its elements, and what leads to what. The parts are in points/: what is shown in scene.js, what it
// looks like in paint.js, when it is drawn in drawing.js.

export default panel("points", "Points: student and teachers in one plane", ({model, el, session, root, undo}) => {
  const film = filmOf(model), scene = new Scene(root, film), {plane, motion, views} = scene;
  const drawing = new Drawing(scene, tell, () => tip.show());
  const actions = {
    select, setLines, setTool, zoomBy, reset, toggleColour, ask: message => film.ask(message), toggleFull: () => setFull(!scene.full),
    hover: sample => { if (sample !== scene.hovered) session.emit("hover", sample); }, save: kind => savePictures(scene, note.textContent, kind),
  };

  // The elements

  const bar = new Bar(root, scene.lines, actions);
  const body = make("div", root, {class: "ka-points-body"});
  const stage = make("div", body, {class: "ka-points-stage"});
  const legend = make("div", body, {class: "ka-points-legend", role: "group", "aria-label": "Legend: click hides or shows"});
  const empty = make("div", stage, {class: "ka-points-empty", hidden: true});
  const job = make("div", stage, {class: "ka-points-job", hidden: true, role: "status"});
  const slider = new Slider(scene, session);
  const note = make("div", root, {class: "ka-points-note"});
  const images = new Images(model, actions.ask, () => drawing.pointedChanged());
  const tip = new Tip(scene, images);
  keyboard(scene, drawing, slider, actions);

  // What users do

  function select(samples) {
    session.emit("selection", Int32Array.from(samples));
    session.post({do: "select", samples});
  }

  function setLines(lines) {
    scene.lines = bar.lines.value = lines;
    drawing.changed();
  }

  // By net; by class, where a class is known; and back.
  function toggleColour() {
    const {by, ways = {}} = plane.colouring, known = Object.keys(ways).find(way => way.split("/")[0] === "class");
    actions.ask({colour: by === "net" && known ? known : "net"});
  }

  function setTool(tool) {
    scene.tool = tool;
    bar.showTool(tool);
    root.classList.toggle("ka-panning", tool === "pan");
  }

  function zoomBy(factor, view = views[0], x, y) {
    if (!view?.lens) return;
    scene.zoom.by(factor, view, x, y);
    drawing.moved();
  }

  function reset() {
    scene.zoom.reset();
    drawing.moved();
  }

  // Full size: the panel moves to the page itself, as cells of a notebook hold back what is fixed in them.
  function setFull(wish) {
    if (wish === Boolean(scene.full)) return;
    if (wish) {
      scene.full = make("div", document.body, {class: "ka-points-full-cell"});
      if (el.closest(".ka-projector")) scene.full.classList.add("ka-projector");
      scene.full.appendChild(root);
    } else {
      el.appendChild(root);
      scene.full.remove();
      scene.full = null;
    }
    bar.full.setAttribute("aria-pressed", String(wish));
    drawing.changed();
    views[0]?.over.focus({preventScroll: true});
  }

  // What comes from Python

  let known = "";
  function read(_, common = true) {
    const wasShown = views.map(view => view.now), {picture} = plane;
    plane.read();
    let smooth = !motion.scrubbing;
    if (common) {
      const names = JSON.stringify([plane.branches.map(branch => branch.name), plane.points]), same = names === known;
      known = names;
      smooth = same && (smooth || picture.fit !== plane.picture.fit || picture.how !== plane.picture.how);
      arrangeViews();
      views.forEach((view, i) => { view.now = same && wasShown[i] ? wasShown[i] : null; });
      scene.mark();
      recolour();
    }
    bar.update(plane, model.get("job")?.how);
    slider.update(plane);
    move(smooth);
    root.dataset.ready = "true";
  }

  function arrangeViews() {
    while (views.length > plane.branches.length) {
      const gone = views.pop();
      gone.plot.remove();
      if (scene.lasso?.view === gone) scene.lasso = null;  // nobody will hear of its end
      if (scene.pointer?.view === gone) scene.pointer = null;
    }
    while (views.length < plane.branches.length) {
      const view = new View(stage, empty);
      views.push(view);
      watch.observe(view.plot);
      pointers(scene, view, drawing, actions);
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

  function recolour() {
    scene.palette = paletteOf(plane, root);
    for (const view of views) view.kindsOf = null;
    makeLegend(legend, scene, drawing);
  }

  function updateJob() {
    const about = model.get("job") ?? {};
    showJob(job, about, model.get("trouble"), () => actions.ask({cancel: true}));
    if (plane.picture.how) bar.view.value = about.how ?? plane.picture.how;
  }

  const readSelection = () => session.selected(integers(model.get("selected")));

  // What is seen

  function move(smooth) {
    motion.begin(views, smooth);
    drawing.changed();
  }

  // The words to a picture of so many samples.
  function tell(count) {
    const step = Number.isFinite(motion.step) ? motion.step : 0, inWords = stepInWords(step);
    entitle(scene, step);
    const text = remarks(scene, count);
    if (note.textContent !== text) note.textContent = note.title = text;
    empty.hidden = Boolean(plane.nets.length);
    empty.textContent = plane.nets.length ? "" : plane.picture.empty ?? "";
    slider.show(step, plane.branches.length ? `step ${inWords}` : "");
    root.setAttribute("aria-label", `Points: ${plane.picture.label ?? ""} of the ${plane.picture.space ?? ""}, step ${inWords}, ${text}`);
  }

  // What leads to what

  const watch = new ResizeObserver(() => {
    const wide = root.clientWidth / parseFloat(getComputedStyle(root).fontSize);
    for (const [name, most] of [["tiny", 28], ["narrow", 36], ["medium", 70]]) root.classList.toggle(`ka-${name}`, wide < most);
    root.classList.toggle("ka-short", root.clientHeight < 250);
    arrange();
    drawing.changed();
  });
  watch.observe(root);
  watch.observe(stage);
  root.addEventListener("ka-theme", () => { recolour(); drawing.changed(); });
  following(model, undo, {"job trouble": updateJob, sheet: () => images.readSheet(), selected: readSelection});
  listen(model, undo, "msg:custom", (message, buffers) => { if (message.kind === "image") images.take(message.sample, buffers[0]); });
  undo.push(film.on(read), session.on("selection", samples => { scene.mark(samples ?? new Int32Array(0)); drawing.changed(); }));
  undo.push(session.on("hover", sample => { scene.hovered = sample; drawing.pointedChanged(); }));
  undo.push(session.on("time", value => {
    const {step, moving} = motion;
    motion.hear(value);
    if (motion.moving) drawing.moves();
    if (motion.step !== step) move(!motion.scrubbing);
    else if (motion.moving !== moving) drawing.changed();
  }));
  undo.push(session.on("status", () => { slider.row.hidden = true; }));  // a player is there
  const lonely = setTimeout(() => slider.row.classList.remove("ka-waiting"), 500);
  undo.push(() => clearTimeout(lonely), () => watch.disconnect(), () => drawing.end(), () => setFull(false));
  root.inspect = (index = 0) => scene.inspect(index);

  setTool("lasso");
  read();
  readSelection();
  updateJob();
  images.readSheet();
  tell(plane.samples);
});
