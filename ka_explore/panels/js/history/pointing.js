// Pointer and keys: looking at a step, and zooming to some steps.

// Listen to a canvas in its plot. `look(step, moving)` tells all views, and Python once nothing moves; `draw` paints
// everything anew, `follow` only what follows the pointer. Returns what ends it.
function pointing(scene, plot, canvas, {look, draw, follow}) {
  const stepIn = x => scene.box.from + (x - scene.box.left) / scene.box.width * (scene.box.to - scene.box.from);
  const stepAt = x => Math.min(Math.max(Math.round(stepIn(x)), 0), scene.last);
  const showAll = () => { scene.zoom = null; draw(); };

  canvas.addEventListener("pointermove", event => {
    const {box, dragged} = scene;
    if (!box) return;
    if (dragged?.zooming) dragged.to = Math.min(Math.max(event.offsetX, box.left), box.left + box.width);
    else {
      scene.pointed = Math.max(stepAt(event.offsetX), Math.min(1, scene.last));
      if (dragged) look(stepAt(event.offsetX), true);
    }
    follow();
  });
  canvas.addEventListener("pointerleave", () => { scene.pointed = null; follow(); });
  canvas.addEventListener("pointerdown", event => {
    if (!scene.box || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    scene.dragged = {zooming: event.shiftKey, from: event.offsetX, to: event.offsetX};
    if (!event.shiftKey) look(stepAt(event.offsetX), true);
  });
  canvas.addEventListener("pointerup", event => {
    const {dragged} = scene;
    if (!dragged) return;
    scene.dragged = null;
    if (!dragged.zooming) {
      look(stepAt(event.offsetX), false);
    } else if (Math.abs(dragged.to - dragged.from) > 5) {
      const steps = [dragged.from, dragged.to].map(stepIn).sort((a, b) => a - b);
      if (steps[1] - steps[0] >= 2) scene.zoom = steps;
    }
    draw();
  });
  canvas.addEventListener("pointercancel", () => { scene.dragged = null; follow(); });
  canvas.addEventListener("dblclick", showAll);

  let waiting = null;
  const moved = by => event => {
    if (event.target !== canvas) return;
    const step = Math.min(Math.max(Math.round(scene.step) + by * (event.shiftKey ? 10 : 1), 0), scene.last);
    look(step, true);
    clearTimeout(waiting);
    waiting = setTimeout(() => look(step, false), 250);
  };
  keysOf(plot, {ArrowLeft: moved(-1), ArrowRight: moved(1), Home: moved(-Infinity), End: moved(Infinity), Escape: showAll});
  return () => clearTimeout(waiting);
}
