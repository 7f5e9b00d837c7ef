// The player: what runs, where it stands, and one timeline that all views share.
// Dragging the timeline moves the bus's `time` in the browser alone; letting go asks Python to stand there.

const THUMB = 16;  // width of the timeline's handle, in CSS pixels

export default panel("player", "player", ({model, session, root, undo}) => {
  let dragged = null;  // the step under the pointer while the timeline is dragged
  let gone = false;

  // Transport

  const bar = make("div", root, {class: "ka-row ka-player-bar", role: "toolbar", "aria-label": "transport"});
  const reset = button(bar, "|◀", "back to step 0 (Home); nothing that is recorded is lost", () => goto(0), {"aria-label": "reset"});
  const back = button(bar, "◀", "one step back (←)", () => goto(status().step - 1), {"aria-label": "step back"});
  const play = button(bar, "▶ play", "train on, or replay what is recorded (space)", toggle, {class: "ka-main ka-player-play"});
  const step = button(bar, "step ▶", "one step (→)", () => session.post({do: "step", n: 1}), {"aria-label": "one step"});
  const ten = button(bar, "×10 ▶", "ten steps (shift →)", () => session.post({do: "step", n: 10}), {"aria-label": "ten steps"});
  const stage = button(bar, "▶| stage", "to the end of this stage", () => session.post({do: "stage"}), {"aria-label": "to the end of the stage"});
  const counter = make("output", bar, {class: "ka-player-step ka-numbers", "aria-label": "step"});
  const pace = make("span", bar, {class: "ka-player-pace ka-numbers ka-quiet"});
  const light = make("span", bar, {class: "ka-player-light", role: "status"});
  const more = make("details", bar, {class: "ka-player-more"});
  make("summary", more, {title: "how fast to play, how often to draw"}, "speed");
  const sheet = make("div", more, {class: "ka-player-sheet"});
  const paces = ["0.1", "0.25", "0.5", "1", "2"].map(value => [value, `${value} s`]);
  for (const [label, name, values] of [["a step every", "play", [["0", "as fast as it goes"], ...paces]], ["a picture every", "render", paces]]) {
    const select = make("select", make("label", sheet, {class: "ka-row"}, label));
    setOptions(select, values);
    select.value = String(model.get("intervals")[name]);
    select.addEventListener("change", () => session.post({do: "intervals", [name]: Number(select.value)}));
  }

  // Timeline: a range for the hand and the keyboard, marks behind it

  const track = make("div", root, {class: "ka-player-track"});
  const marks = sharpCanvas(track, undo, paint, {"aria-hidden": "true"});
  const slider = make("input", track, {type: "range", min: 0, step: 1, "aria-label": "timeline: the step that all views show"});
  const line = make("div", root, {class: "ka-player-line ka-small ka-quiet"});
  const alarm = make("div", root, {class: "ka-player-error", role: "alert", hidden: true});

  const status = () => model.get("status");
  const timeline = () => model.get("timeline");

  const moves = () => ["plays", "replays"].includes(status().doing);
  function toggle() { session.post({do: moves() ? "pause" : "play"}); }

  function goto(step) {
    const wanted = Math.min(Math.max(step, 0), status().recorded);
    session.emit("time", {step: wanted, by: "player", moving: false});
    session.post({do: status().open ? "goto" : "look", step: wanted});
  }

  slider.addEventListener("input", () => {
    dragged = Math.min(Number(slider.value), status().recorded);
    slider.value = dragged;
    session.emit("time", {step: dragged, by: "player", moving: true});
    words();
  });
  // Not every browser tells of a change where the handle is let go at the step it was taken from.
  for (const kind of ["change", "pointerup", "pointercancel", "blur"]) slider.addEventListener(kind, () => {
    if (dragged === null) return;
    const wanted = Math.min(dragged, status().recorded);
    dragged = null;
    goto(wanted);
  });

  function paint(ctx, width, height) {
    const {steps, stages, checkpoints, snapshots, forks} = timeline();
    const x = step => THUMB / 2 + (width - THUMB) * (steps ? step / steps : 0);
    const quiet = styleOf(root, "--ka-quiet"), line = styleOf(root, "--ka-line"), accent = styleOf(root, "--ka-accent");
    const size = parseFloat(getComputedStyle(root).fontSize) * 0.85, middle = height - 13;
    const box = (colour, ...sides) => {
      ctx.fillStyle = colour;
      ctx.fillRect(...sides);
    };
    box(line, x(0), middle - 3, width - THUMB, 6);
    ctx.globalAlpha = 0.45;
    box(accent, x(0), middle - 3, x(status().recorded) - x(0), 6);
    ctx.globalAlpha = 1;
    for (const step of snapshots) box(quiet, x(step) - 0.5, middle + 5, 1, 4);
    for (const step of checkpoints) box(quiet, x(step) - 1, middle + 5, 2, 8);
    ctx.font = `${size}px ${getComputedStyle(root).fontFamily}`;
    ctx.textBaseline = "top";
    let free = -Infinity;
    for (const [name, start, end] of stages) {
      if (start > 0) box(line, x(start) - 0.5, 2, 1, height - 6);
      const text = fitted(ctx, name, x(end) - x(start) - 6);
      if (!text || x(start) < free) continue;
      ctx.fillStyle = quiet;
      ctx.fillText(text, x(start) + 4, 1);
      free = x(start) + ctx.measureText(text).width + 8;
    }
    ctx.fillStyle = styleOf(root, "--ka-warn");
    ctx.beginPath();
    for (const [, at] of forks) tracePath(ctx, "v", x(at), middle - 9, 5);
    ctx.fill();
    box(styleOf(root, "--ka-front"), x(status().step) - 1, middle - 6, 2, 12);  // where the run stands, wherever the handle is
  }

  // What is written

  const DOING = {plays: "plays", replays: "replays", forks: "forks…", opens: "opens the run…", examines: "examines…"};

  function words() {
    const now = status(), moving = moves(), busy = Boolean(now.doing);
    const over = now.steps > 0 && now.step >= now.steps;
    play.textContent = moving ? "❚❚ pause" : "▶ play";
    play.setAttribute("aria-pressed", String(moving));
    counter.textContent = `step ${spaced(now.step)}`;
    make("span", counter, {class: "ka-quiet"}, ` of ${spaced(now.steps)}`);
    pace.textContent = moving && now.rate ? `${readable(now.rate, 2)} steps/s · ${seconds(now.remaining)} left` : `${seconds(now.elapsed)} so far`;
    light.textContent = gone ? "○ no kernel" : busy && now.progress ? `● ${now.progress}` : busy ? `● ${DOING[now.doing] ?? now.doing}` : over ? "■ done" : "❚❚ waits";
    light.className = `ka-player-light ${gone ? "ka-player-gone" : busy ? "ka-player-live" : ""}`;
    for (const name of ["step", "doing", "seen", "run"]) root.dataset[name] = now[name];
    const waits = gone || (busy && !moving);
    play.disabled = waits || (over && !moving);
    step.disabled = ten.disabled = stage.disabled = waits || over;
    reset.disabled = back.disabled = waits || now.recorded === 0 || (now.step === 0 && !moving);
    slider.disabled = gone || now.recorded === 0;
    slider.max = Math.max(now.steps, 1);
    if (dragged === null) slider.value = shownStep();
    slider.setAttribute("aria-valuetext", `step ${slider.value} of ${now.steps}, ${now.recorded} recorded`);
    const looked = Math.round(dragged ?? shownStep()), {seen} = timeline();
    line.textContent = line.title = [
      `run ${now.run}`, now.stage && `stage ${now.stage}`, now.recorded > now.step && `${spaced(now.recorded)} steps recorded`,
      looked !== now.step && `looking at step ${spaced(looked)}`, `${seen} snapshot${seen === 1 ? "" : "s"}`,
      !now.open && "from disk: play opens it", now.note,
    ].filter(Boolean).join(" · ");
    alarm.hidden = !now.error;
    if (emptied(alarm, now.error)) {
      make("span", alarm, {class: "ka-player-why"}, "⚠ " + now.error);
      button(alarm, "✕", "dismiss", () => session.post({do: "dismiss"}), {"aria-label": "dismiss the error"});
    }
    marks.soon();
    queued();
  }

  // What was asked and not taken up is said to be queued: version 6 of the kernel answers between cells only.
  const queue = make("div", root, {class: "ka-player-queue", role: "status", hidden: true}, "");
  function queued() {
    const sent = session.sent, waits = sent && sent.number > status().seen ? performance.now() - sent.at : 0;
    queue.hidden = gone || waits < 700;
    queue.textContent = waits < 15000 ? "⏳ queued until the running cell ends" : "⏳ queued until the running cell ends; if none runs, the kernel does not answer: restart it";
  }
  const clock = setInterval(queued, 250);
  undo.push(() => clearInterval(clock));

  let viewed = null;  // what views look at: the run's own step unless somebody moved it
  const shownStep = () => viewed ?? status().step;
  function told() {
    const now = status();
    gone = false;
    session.emit("seen", now.seen);
    session.emit("status", now);
    if (dragged === null && now.step !== told.step) {
      viewed = null;
      session.emit("time", {step: now.step, by: "run", moving: moves()});
    }
    told.step = now.step;
    words();
  }
  following(model, undo, {status: told, timeline: words});
  listen(model, undo, "comm_live_update", () => { gone = true; words(); });
  undo.push(session.on("time", time => {
    viewed = time.by === "run" ? null : time.step;
    if (time.by !== "player" && time.by !== "run") words();
  }));
  root.addEventListener("ka-theme", () => marks.soon());
  root.tabIndex = -1;
  const forkHere = () => session.emit("fork-here", performance.now());  // heard by the panel that forks
  keysOf(root, {
    " ": toggle,
    "b": forkHere,
    "B": forkHere,
    "ArrowLeft": () => goto(status().step - 1),
    "ArrowRight": event => session.post({do: "step", n: event.shiftKey ? 10 : 1}),
    "Home": () => goto(0),
    "End": () => goto(status().recorded),
    "Escape": () => session.post({do: "dismiss"}),
  });
  told();
});
