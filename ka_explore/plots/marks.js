// Colours of values and markers of nets as the static pictures have them, and elements: for films and panels.

// Set attributes of an element, or take off those that are false or nothing.
function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

function make(kind, into, attributes = {}, text) {
  const made = document.createElement(kind);
  setAttributes(made, attributes);
  if (text !== undefined) made.textContent = text;
  into?.appendChild(made);
  return made;
}

// A canvas to be drawn on in CSS pixels: empty, and as sharp as the screen.
function cleared(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1, across = Math.round(width * ratio), down = Math.round(height * ratio);
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, {width: across, height: down});
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return ctx;
}

// A small square picture.
const icon = (into, side, draw) => draw(cleared(make("canvas", into, {"aria-hidden": "true"}), side, side));

// viridis at nine values
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

function mapped(value, low, high, map = VIRIDIS) {
  if (!Number.isFinite(value)) return "#bbbbbb";
  const at = Math.min(Math.max((value - low) / (high - low || 1), 0), 1) * (map.length - 1);
  const below = Math.min(Math.floor(at), map.length - 2), share = at - below;
  return `rgb(${map[below].map((c, i) => Math.round(c + share * (map[below + 1][i] - c))).join(",")})`;
}

// Markers: outlines through corners around (0, 0), of size 1

const CORNERS = {
  "^": [[0, -1.1], [1, 0.8], [-1, 0.8]],
  "v": [[0, 1.1], [1, -0.8], [-1, -0.8]],
  "s": [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  "D": [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
  "P": [[-0.35, -1], [0.35, -1], [0.35, -0.35], [1, -0.35], [1, 0.35], [0.35, 0.35], [0.35, 1], [-0.35, 1], [-0.35, 0.35], [-1, 0.35], [-1, -0.35], [-0.35, -0.35]],
  "X": [[-1, -0.5], [-0.5, -1], [0, -0.5], [0.5, -1], [1, -0.5], [0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5], [-0.5, 1], [-1, 0.5], [-0.5, 0]],
  "*": Array.from({length: 10}, (_, i) => {
    const r = i % 2 ? 0.5 : 1.2, a = Math.PI * (i / 5 - 0.5);
    return [r * Math.cos(a), r * Math.sin(a)];
  }),
};

// The path of a marker of a size around (x, y); the student's "o" is filled, teachers' are outlines.
function tracePath(ctx, marker, x, y, size) {
  if (marker === "o") {
    ctx.moveTo(x + size * 0.9, y);
    ctx.arc(x, y, size * 0.9, 0, 2 * Math.PI);
    return;
  }
  (CORNERS[marker] ?? CORNERS.s).forEach(([dx, dy], i) => ctx[i ? "lineTo" : "moveTo"](x + size * dx, y + size * dy));
  ctx.closePath();
}

// Draw a marker: `line` is how wide an outline is.

function drawMarker(ctx, marker, x, y, size, colour, line = 1.3) {
  ctx.beginPath();
  tracePath(ctx, marker, x, y, size);
  ctx.fillStyle = ctx.strokeStyle = colour;
  ctx.lineWidth = line;
  if (marker === "o") ctx.fill();
  else ctx.stroke();
}
