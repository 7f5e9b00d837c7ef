// The pointer over a branch's picture: hovering, clicking, drawing a lasso, moving, and the wheel.

const REACH = 12;  // pixels around the pointer in which a point is found

// Whether (x, y) lies in a polygon, by the even-odd rule.
function inside(x, y, polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

// The sample of the nearest visible point within reach of (x, y), or null.
function nearest(scene, view, x, y) {
  if (!view.drawn) return null;
  let best = REACH * REACH, found = null;
  eachPoint(scene, view, scene.plane.nets.keys(), (sample, px, py) => {
    const far = (px - x) ** 2 + (py - y) ** 2;
    if (far < best) [best, found] = [far, sample];
  });
  return found;
}

// A sample: whether a visible point of it lies in a polygon.
function enclosed(scene, view, polygon) {
  const found = new Uint8Array(scene.plane.samples), [x0, x1, y0, y1] = boxOf(polygon.flat());
  eachPoint(scene, view, scene.plane.nets.keys(), (sample, x, y) => {
    if (!found[sample] && x >= x0 && x <= x1 && y >= y0 && y <= y1 && inside(x, y, polygon)) found[sample] = 1;
  });
  return found;
}

// The samples that are selected when these were found: shift adds to the selection, ctrl or alt removes from it.
function combined(found, chosen, {shiftKey, ctrlKey, altKey, metaKey}) {
  const remove = ctrlKey || altKey || metaKey;
  return [...found.keys()].filter(s => remove ? chosen[s] && !found[s] : found[s] || (shiftKey && chosen[s]));
}

// Listen to the pointer over a view; `actions` are the panel's.
function pointers(scene, view, drawing, actions) {
  const canvas = view.over;
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  let drag = null, waiting = null;

  canvas.addEventListener("pointerdown", event => {
    if (event.button > 1 || !view.lens) return;
    canvas.focus({preventScroll: true});
    try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone */ }
    const [x, y] = at(event);
    if (event.button === 1 || scene.tool === "pan" || scene.spaceDown) {
      event.preventDefault();
      drag = {x, y};
    } else {
      scene.lasso = {view, path: [[x, y]]};
    }
  });

  canvas.addEventListener("pointermove", event => {
    const [x, y] = at(event), {lasso} = scene;
    if (drag) {
      scene.zoom.drag(view, x - drag.x, y - drag.y);
      drag = {x, y};
      drawing.moved();
    } else if (lasso?.view === view) {
      const last = lasso.path.at(-1);
      if (Math.hypot(x - last[0], y - last[1]) >= 2) { lasso.path.push([x, y]); drawing.pointedChanged(); }
    } else {
      scene.pointer = {view, x, y};
      waiting ??= requestAnimationFrame(() => {
        waiting = null;
        if (!scene.pointer) return;
        actions.hover(nearest(scene, view, scene.pointer.x, scene.pointer.y));
        drawing.pointedChanged();
      });
    }
  });

  const done = event => {
    drag = null;
    if (scene.lasso?.view !== view) return;
    const {path} = scene.lasso;
    scene.lasso = null;
    drawing.pointedChanged();
    if (event.type === "pointercancel" || !view.drawn) return;
    const long = path.reduce((sum, [x, y], i) => (i ? sum + Math.hypot(x - path[i - 1][0], y - path[i - 1][1]) : 0), 0);
    const sample = long < 5 ? nearest(scene, view, ...path[0]) : null;
    if (long < 5 && sample === null) {
      if (!event.shiftKey && scene.selection.length) actions.select([]);
      return;
    }
    const found = sample === null ? enclosed(scene, view, path) : Uint8Array.from(scene.chosen, (_, i) => i === sample);
    actions.select(combined(found, scene.chosen, event));
  };
  canvas.addEventListener("pointerup", done);
  canvas.addEventListener("pointercancel", done);

  canvas.addEventListener("pointerleave", () => {
    if (scene.pointer?.view !== view) return;
    scene.pointer = null;
    actions.hover(null);
    drawing.pointedChanged();
  });

  // Only where the picture was clicked before, or with ctrl: else the wheel scrolls the notebook past it.
  canvas.addEventListener("wheel", event => {
    if (document.activeElement !== canvas && !event.ctrlKey && !scene.full) return;
    event.preventDefault();
    const down = Math.min(Math.max(event.deltaY * (event.deltaMode ? 30 : 1), -240), 240);
    actions.zoomBy(Math.exp(-0.0016 * down), view, ...at(event));
  }, {passive: false});
  canvas.addEventListener("auxclick", event => event.preventDefault());
}
