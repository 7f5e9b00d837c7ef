// The pictures as a file: SVG, and PNG drawn from it, with title, legend and words.

const escaped = text => String(text).replace(/[&<>"]/g, letter => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}[letter]));
const short = value => value.toFixed(2);

// Points of a view that look the same: {marker, colour, size, points}, from the lowest to the highest.
function groupsOf(scene, view) {
  const {plane, palette, chosen} = scene, {width, height} = view, groups = new Map();
  const size = markerSize(scene, view, plane.points), some = scene.selection.length > 0;
  for (const pass of some ? [0, 1] : [1]) eachPoint(scene, view, plane.upwards, (sample, x, y, net, kind) => {
    if (!(x >= 0 && y >= 0 && x <= width && y <= height) || (some && chosen[sample] !== pass)) return;
    const key = `${pass} ${net} ${kind}`;
    if (!groups.has(key)) {
      const colour = written(unpacked(pass ? palette[kind].full : palette[kind].dim));
      groups.set(key, {marker: plane.nets[net].marker, colour, size: size * (pass && some ? SELECTED : 1), points: []});
    }
    groups.get(key).points.push([x, y]);
  });
  return [...groups.values()];
}

// The path of a marker at many points.
function pathOf(marker, points, size) {
  const r = size * 0.9, arc = `a${short(r)} ${short(r)} 0 1 0`;
  return points.map(([x, y]) => {
    if (marker === "o") return `M${short(x - r)} ${short(y)}${arc} ${short(2 * r)} 0${arc} ${short(-2 * r)} 0`;
    return `M${(CORNERS[marker] ?? CORNERS.s).map(([dx, dy]) => `${short(x + size * dx)} ${short(y + size * dy)}`).join("L")}Z`;
  }).join("");
}

// The lines and points of a view.
function marksOf(scene, view, back) {
  const {plane, palette, lines} = scene, {now, lens} = view, part = Number(lines), out = [];
  if (!view.drawn) return out;
  const joined = part > 0 ? plane.order.subarray(0, Math.round(part * plane.samples)) : lines === "pointed" ? scene.selection : [];
  const point = at => `${short(now[at] * lens.scale + lens.ox)} ${short(lens.oy - now[at + 1] * lens.scale)}`;
  for (const net of joined.length ? joinedNets(scene) : []) {
    const path = [];
    eachLine(scene, view, net, joined, (a, b) => path.push(`M${point(a)}L${point(b)}`));
    out.push(`<path d="${path.join("")}" stroke="${palette.nets[net]}" stroke-opacity=".3" fill="none"/>`);
  }
  for (const {marker, colour, size, points} of groupsOf(scene, view)) {
    const look = marker === "o" ? `fill="${colour}" stroke="${back}" stroke-width=".7"` : `fill="${colour}" fill-opacity=".16" stroke="${colour}" stroke-width="1.3"`;
    out.push(`<path d="${pathOf(marker, points, size)}" ${look}/>`);
  }
  return out;
}

// The legend, from (left, top) downwards.
function legendOf({plane: {nets, colouring}, palette}, left, top, front) {
  const out = [];
  let y = top;
  const row = (text, mark, bold) => {
    out.push(mark ?? "", `<text x="${left + (mark ? 20 : 0)}" y="${y}" fill="${front}"${bold ? ' font-weight="600"' : ""}>${escaped(text)}</text>`);
    y += 20;
  };
  row("net", null, true);
  nets.forEach(({name, marker}, i) => {
    const fill = marker === "o" ? palette.nets[i] : "none";
    row(name, `<path d="${pathOf(marker, [[left + 7, y - 4]], 5)}" fill="${fill}" stroke="${palette.nets[i]}" stroke-width="1.5"/>`);
  });
  if (colouring.kind === "label") {
    row(colouring.legend, null, true);
    colouring.labels.forEach((label, i) => {
      row(label.name, `<rect x="${left + 1}" y="${y - 10}" width="11" height="11" rx="2" fill="${written(palette[i].rgb)}"/>`);
    });
  } else if (colouring.kind === "value") {
    row(colouring.unit, null, true);
    for (let i = 0; i < 20; i++) out.push(`<rect x="${left + 7 * i}" y="${y - 10}" width="7.5" height="10" fill="${mapped(i / 19, 0, 1)}"/>`);
    y += 18;
    row(`${readable(colouring.low, 2)} to ${readable(colouring.high, 2)}`);
  }
  return out;
}

// All pictures side by side, whatever rows they have on the screen.
function svgOf(scene, note) {
  const {plane, views, root} = scene, gap = 8, side = 190, top = 30, bottom = 46;
  const width = views.reduce((sum, view) => sum + view.width + gap, gap) + side;
  const keys = plane.nets.length + (plane.colouring.labels?.length ?? 3) + 2;
  const height = Math.max(views[0].height + top + bottom, 20 * keys + top + 10);
  const front = styleOf(root, "--ka-front"), quiet = styleOf(root, "--ka-quiet"), back = styleOf(root, "--ka-back"), line = styleOf(root, "--ka-line");
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13">`
    + `<rect width="100%" height="100%" fill="${back}"/>`,
  ];
  let left = gap;
  views.forEach((view, i) => {
    const box = `x="${left}" y="${top}" width="${view.width}" height="${view.height}"`;
    out.push(`<text x="${left}" y="20" fill="${front}" font-weight="600">${escaped(`${plane.branches[i].name}, ${view.where.textContent}`)}</text>`);
    out.push(`<svg ${box}>`, ...marksOf(scene, view, back), `</svg><rect ${box} fill="none" stroke="${line}"/>`);
    if (view.frame?.warns) out.push(`<text x="${left + 6}" y="${top + 16}" fill="${styleOf(root, "--ka-warn")}" font-size="11">${escaped(view.frame.note)}</text>`);
    left += view.width + gap;
  });
  out.push(...legendOf(scene, left, top + 12, front));
  out.push(`<text x="${gap}" y="${top + views[0].height + 22}" fill="${quiet}" font-size="11">${escaped(note)}</text></svg>`);
  return {text: out.join("\n"), width, height};
}

function download(blob, name) {
  const link = make("a", null, {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function savePictures(scene, note, kind) {
  if (!scene.views.length || !scene.views[0].width) return;
  const {text, width, height} = svgOf(scene, note), vector = new Blob([text], {type: "image/svg+xml"});
  const name = `points-${scene.plane.picture.how}-step-${Math.round(scene.motion.step)}.${kind}`;
  if (kind === "svg") { download(vector, name); return; }
  const picture = new Image(), address = URL.createObjectURL(vector);
  picture.src = address;
  await picture.decode();
  const canvas = make("canvas", null, {width: 2 * width, height: 2 * height});
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  canvas.toBlob(blob => download(blob, name));
}
