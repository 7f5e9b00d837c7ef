// A branch's picture. Three canvases lie on each other: grid and lines, points, and what is pointed at.

const LINES_MOST = 600;  // images whose lines are drawn for a selection
const SELECTED = 1.55;  // how much larger selected points are

class View {
  constructor(stage, before) {
    this.plot = make("div", null, {class: "ka-points-plot"});
    stage.insertBefore(this.plot, before);
    this.under = make("canvas", this.plot, {"aria-hidden": "true"});
    this.points = make("canvas", this.plot, {"aria-hidden": "true"});
    this.over = make("canvas", this.plot, {class: "ka-points-over", tabindex: "0", role: "application"});
    const title = make("div", this.plot, {class: "ka-points-title"});
    this.name = make("b", title);
    this.where = make("span", title, {class: "ka-numbers"});
    this.warned = make("div", this.plot, {class: "ka-points-warned", hidden: true});
    this.said = make("div", this.plot, {class: "ka-points-empty", hidden: true});
    this.width = this.height = 0;
    this.frame = null;  // the stored frame that is nearest
    this.now = null;  // positions on the plane at this moment
    this.from = null;  // positions from which they glide
    this.kinds = new Int16Array(0);  // a point: its index in the palette
    this.kindsOf = null;  // what the kinds were made of
    this.at = null;  // where the step lies among the frames, see Plane
    this.lens = null;  // see Zoom
    this.image = null;  // what points are stamped into
  }

  // Whether there are points to be seen: none while others are read, or where a frame only says why it has none.
  get drawn() { return Boolean(this.frame && !this.frame.said && this.now && this.lens); }

  // Make the points as sharp as the screen; false where the picture has no room.
  fit() {
    const ratio = window.devicePixelRatio || 1, width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!width || !height) return false;
    Object.assign(this, {ratio, width, height});
    const across = Math.round(width * ratio), down = Math.round(height * ratio);
    if (this.points.width !== across || this.points.height !== down) {
      Object.assign(this.points, {width: across, height: down});
      this.image = null;
    }
    return true;
  }
}

// The size of markers for so many points in a picture, in CSS pixels.
function markerSize({root, zoom}, view, count) {
  const type = parseFloat(getComputedStyle(root).fontSize) / 13;
  const room = Math.sqrt(view.width * view.height / Math.max(count, 1));
  return Math.min(Math.max(0.9 + 0.16 * room, 1.5), 5) * type * Math.min(zoom.factor ** 0.25, 1.8);
}

// The grid, and the lines of a share of the images and of the selection; those of what is pointed at lie above the points.
function paintUnder(scene, view, count) {
  const ctx = cleared(view.under, view.width, view.height), {plane, lines, selection, chosen} = scene;
  if (!view.frame) return;
  view.lens = scene.zoom.lens(view, scene.motion.box);
  paintGrid(ctx, scene.root, view);
  paintAxes(ctx, scene.root, view, plane.picture.axes ?? ["", ""]);
  const part = Number(lines);
  if (part > 0) {
    const most = Math.min(Math.round(part * plane.samples), count);
    paintLines(ctx, scene, view, plane.order.subarray(0, most), most > 800 ? 0.13 : 0.26, 1);
  }
  if (lines !== "off" && selection.length) {
    const few = selection.length > LINES_MOST ? plane.order.filter(s => chosen[s]).slice(0, LINES_MOST) : selection;
    paintLines(ctx, scene, view, few, few.length > 200 ? 0.2 : few.length > 40 ? 0.4 : 0.8, few.length > 40 ? 1 : 1.5);
  }
}

// A quiet grid: round distances in the plane.
function paintGrid(ctx, root, {width, height, lens: {scale, ox, oy}}) {
  const rough = 90 / scale, unit = 10 ** Math.floor(Math.log10(rough)), gap = [1, 2, 5, 10].map(k => k * unit).find(k => k >= rough);
  ctx.strokeStyle = styleOf(root, "--ka-line");
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.28;
  ctx.beginPath();
  for (let x = Math.ceil((-ox / scale) / gap) * gap; x * scale + ox < width; x += gap) {
    const at = Math.round(x * scale + ox) + 0.5;
    ctx.moveTo(at, 0);
    ctx.lineTo(at, height);
  }
  for (let y = Math.ceil(((oy - height) / scale) / gap) * gap; oy - y * scale > 0; y += gap) {
    const at = Math.round(oy - y * scale) + 0.5;
    ctx.moveTo(0, at);
    ctx.lineTo(width, at);
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function paintAxes(ctx, root, {width, height}, [across, up]) {
  const {fontSize, fontFamily} = getComputedStyle(root), size = 0.82 * parseFloat(fontSize);
  ctx.font = `${size}px ${fontFamily}`;
  ctx.fillStyle = styleOf(root, "--ka-quiet");
  ctx.textAlign = "right";
  if (width > 260) ctx.fillText(`${across} →`, width - 6, height - 6);
  ctx.save();
  ctx.translate(size + 2, height - 8);
  ctx.rotate(-Math.PI / 2);
  ctx.textAlign = "left";
  if (height > 200) ctx.fillText(`${up} →`, 0, 0);
  ctx.restore();
}

// Lines from the student's point of some images to the teachers', one path a teacher.
function paintLines(ctx, scene, view, samples, alpha, width) {
  const {now, lens: {scale, ox, oy}} = view;
  ctx.globalAlpha = alpha;
  ctx.lineWidth = width;
  for (const net of joinedNets(scene)) {
    ctx.strokeStyle = scene.palette.nets[net];
    ctx.beginPath();
    eachLine(scene, view, net, samples, (a, b) => {
      ctx.moveTo(now[a] * scale + ox, oy - now[a + 1] * scale);
      ctx.lineTo(now[b] * scale + ox, oy - now[b + 1] * scale);
    });
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

// The nets whose points are joined with the student's.
function joinedNets(scene) {
  const {nets, student} = scene.plane;
  return nets.length && scene.shows(student) ? [...nets.keys()].filter(net => net !== student && scene.shows(net)) : [];
}

// Visit the points of some nets that are shown: their sample, (x, y) in pixels of the picture, net and kind.
function eachPoint(scene, {now, kinds, lens: {scale, ox, oy}}, nets, visit) {
  const n = scene.plane.samples;
  for (const net of nets) {
    if (!scene.shows(net)) continue;
    for (let sample = 0, p = net * n; sample < n; sample++, p++) {
      if (!scene.hiddenLabels.has(kinds[p])) visit(sample, now[2 * p] * scale + ox, oy - now[2 * p + 1] * scale, net, kinds[p]);
    }
  }
}

// Visit what a net's lines join: where the student's and the net's coordinates are of every sample that is shown.
function eachLine({plane: {samples: n, student}, hiddenLabels}, {now, kinds}, net, samples, visit) {
  for (const sample of samples) {
    const from = student * n + sample, to = net * n + sample, a = 2 * from, b = 2 * to;
    if (now[a] === now[a] && now[b] === now[b] && !hiddenLabels.has(kinds[from]) && !hiddenLabels.has(kinds[to])) visit(a, b);
  }
}

// The nets' stamps in the usual size and in that of what is selected.
function stampsOf(plane, view, size) {
  const ratio = view.ratio, key = `${size.toFixed(2)} ${ratio} ${plane.nets.map(net => net.marker).join("")}`;
  if (view.stampKey !== key) {
    view.stampKey = key;
    const line = Math.max(1.25, 0.36 * size) * ratio, rim = Math.min(0.9, 0.3 * size) * ratio;
    const made = times => plane.nets.map(({marker}) => new Stamp(marker, size * ratio * times * (marker === "o" ? 0.98 : 1.02), rim, line));
    view.stamps = [made(1), made(SELECTED)];
  }
  return view.stamps;
}

// All points of a branch, or of the first `count` samples of the plane's order; says how many lie in the picture.
function paintPoints(scene, view, count) {
  const {plane, palette, chosen, hiddenLabels} = scene, n = plane.samples;
  const ctx = view.points.getContext("2d", {willReadFrequently: true}), {width, height} = view.points;
  if (!view.image) {
    view.image = ctx.createImageData(width, height);
    view.pixels = new Uint32Array(view.image.data.buffer);
  }
  const {image, pixels, now, kinds} = view, bytes = image.data, length = pixels.length;
  pixels.fill(0);
  let drawn = 0;
  if (view.drawn) {
    const {scale, ox, oy} = view.lens, {ratio} = view, {order} = plane, some = scene.selection.length > 0, all = count >= n;
    const [small, large] = stampsOf(plane, view, markerSize(scene, view, count * plane.nets.length));
    // pass 0: what is not selected while something is; pass 1: the rest, larger where it is selected
    for (let pass = some ? 0 : 1; pass < 2; pass++) {
      for (const net of plane.upwards) {
        if (!scene.shows(net)) continue;
        const shape = pass && some ? large[net] : small[net], reach = shape.reach;
        for (let k = 0; k < count; k++) {
          const s = all ? k : order[k], p = net * n + s, kind = kinds[p];
          if (some && chosen[s] !== pass) continue;
          const x = (now[2 * p] * scale + ox) * ratio, y = (oy - now[2 * p + 1] * scale) * ratio;
          if (!(x > -reach && y > -reach && x < width + reach && y < height + reach) || hiddenLabels.has(kind)) continue;
          drawn++;
          const px = Math.floor(x), py = Math.floor(y), tone = pass ? palette[kind].full : palette[kind].dim;
          if (px < reach || px >= width - reach) {
            if (px >= 0 && px < width) stampAtSide(pixels, shape.at(0, width).face, px, py, tone, width, height);
            continue;
          }
          const list = shape.at(Math.floor((y - py) * PHASES) * PHASES + Math.floor((x - px) * PHASES), width), at = py * width + px;
          if (list.rim) stamp(pixels, bytes, list.rim, at, palette.back, length);
          stamp(pixels, bytes, list.face, at, tone, length);
        }
      }
    }
  }
  ctx.putImageData(image, 0, 0);
  return drawn;
}

// What is pointed at, in all nets, and the lasso.
function paintOver(scene, view) {
  const ctx = cleared(view.over, view.width, view.height), {plane, hovered, lasso} = scene;
  if (!view.drawn) return;
  if (hovered !== null && hovered < plane.samples) {
    if (scene.lines !== "off") paintLines(ctx, scene, view, [hovered], 0.95, 2);
    paintHovered(ctx, scene, view);
  }
  if (lasso?.view === view && lasso.path.length > 1) paintLasso(ctx, lasso.path, styleOf(scene.root, "--ka-accent"));
}

function paintHovered(ctx, scene, view) {
  const {plane, palette, root} = scene, {scale, ox, oy} = view.lens, n = plane.samples, size = markerSize(scene, view, n * plane.nets.length);
  for (const net of plane.upwards) {
    const p = net * n + scene.hovered, kind = view.kinds[p], x = view.now[2 * p] * scale + ox, y = oy - view.now[2 * p + 1] * scale;
    if (x !== x || !scene.shows(net) || scene.hiddenLabels.has(kind)) continue;
    const {marker} = plane.nets[net], filled = marker === "o";
    ctx.beginPath();
    tracePath(ctx, marker, x, y, 1.75 * size + 1.5);
    ctx.fillStyle = styleOf(root, "--ka-back");
    ctx.fill();
    ctx.fillStyle = written(palette[kind]?.rgb ?? [128, 128, 128]);
    if (filled) ctx.fill();
    ctx.strokeStyle = filled ? styleOf(root, "--ka-front") : ctx.fillStyle;
    ctx.lineWidth = filled ? 1.5 : 2.6;
    ctx.stroke();
  }
}

function paintLasso(ctx, path, accent) {
  trace(ctx, ...path);
  ctx.closePath();
  ctx.fillStyle = ctx.strokeStyle = accent;
  ctx.globalAlpha = 0.12;
  ctx.fill();
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1.5;
  ctx.setLineDash([5, 3]);
  ctx.stroke();
  ctx.setLineDash([]);
}
