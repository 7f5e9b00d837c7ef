// A film of points: a canvas, a slider, a legend. It reads its data from the page and asks the network for nothing.
// It stands in one function with `marks.js`.

const GREY = "#bbbbbb";

// Data

function bytes(text) {
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out.buffer;
}

// Arrays that several frames share are stored once.
function unpack(data) {
  const arrays = data.arrays.map(a => a.kind === "float" ? new Float32Array(bytes(a.data)) : new Int32Array(bytes(a.data)));
  const at = index => index === null ? null : arrays[index];
  return data.frames.map(f => ({
    title: f.title, note: f.note, xy: at(f.xy), group: at(f.group), sample: at(f.sample), label: at(f.label), value: at(f.value),
  }));
}

// The page

function element(kind, into, text) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  into.appendChild(made);
  return made;
}

function film(root) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const frames = unpack(data);
  let now = 0, by = data.by[0], timer = null;
  const hidden = {net: new Set(), label: new Set()};

  const bar = element("div", root);
  bar.className = "points-film-bar";
  const play = element("button", bar, "▶ play");
  play.type = "button";
  const slider = element("input", bar);
  Object.assign(slider, {type: "range", min: 0, max: frames.length - 1, step: 1, value: 0});
  slider.setAttribute("aria-label", "frame");
  const title = element("output", bar);
  const select = element("select", bar);
  select.setAttribute("aria-label", "colour by");
  for (const way of data.by) element("option", select, "colour by " + (way === "label" ? data.legend : way === "value" ? data.unit || "value" : "net")).value = way;
  const stage = element("div", root);
  stage.className = "points-film-stage";
  const canvas = element("canvas", stage);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const tip = element("div", stage);
  tip.className = "points-film-tip";
  tip.hidden = true;
  const legend = element("div", stage);
  legend.className = "points-film-legend";
  const note = element("div", root);
  note.className = "points-film-note";

  const width = 560, height = 420, edge = 14;
  const [[left, right], [low, high]] = data.limits;
  const stretch = [(width - 2 * edge) / (right - left), (height - 2 * edge) / (high - low)];
  const px = x => width / 2 + (x - (left + right) / 2) * stretch[0];
  const py = y => height / 2 - (y - (low + high) / 2) * stretch[1];

  const shown = (frame, i) => !hidden.net.has(frame.group[i]) && !(frame.label && by === "label" && hidden.label.has(frame.label[i]));

  function colour(frame, i) {
    if (by === "value") return frame.value ? mapped(frame.value[i], data.range[0], data.range[1]) : GREY;
    if (by === "label") return frame.label && frame.label[i] >= 0 ? data.label_colours[frame.label[i]] : GREY;
    return data.colours[frame.group[i]];
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const frame = frames[now], count = frame.group.length;
    ctx.globalAlpha = 0.85;
    const size = count > 3000 ? 2.5 : count > 800 ? 3.2 : 4;
    for (const student of [false, true])  // the student on top
      for (let i = 0; i < count; i++) {
        if ((data.markers[frame.group[i]] === "o") !== student || !shown(frame, i)) continue;
        if (Number.isFinite(frame.xy[2 * i] + frame.xy[2 * i + 1])) drawMarker(ctx, data.markers[frame.group[i]], px(frame.xy[2 * i]), py(frame.xy[2 * i + 1]), size, colour(frame, i));
      }
    ctx.globalAlpha = 1;
    title.textContent = `${frame.title || "frame"} (${now + 1} of ${frames.length})`;
    canvas.setAttribute("aria-label", `${data.title}: ${title.textContent}`);
    note.textContent = [data.axes, frame.note].filter(Boolean).join("; ");
    slider.value = now;
    root.dataset.frame = now;
  }

  function go(index) {
    now = Math.min(Math.max(index, 0), frames.length - 1);
    tip.hidden = true;
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ play";
  }

  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (now === frames.length - 1) go(0);
    play.textContent = "❚❚ pause";
    timer = setInterval(() => now < frames.length - 1 ? go(now + 1) : stop(), data.seconds * 1000);
  });
  slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
  root.addEventListener("keydown", event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (move === undefined || event.target === select) return;
    event.preventDefault();
    stop();
    go(now + move);
  });
  select.addEventListener("change", () => { by = select.value; names(); draw(); });

  // The legend: nets by marker, labels by colour; a click hides or shows what it names.

  function names() {
    legend.textContent = "";
    entries("net", "net", data.groups, i => [data.markers[i], by === "net" ? data.colours[i] : "#444444"]);
    if (by === "label") entries("label", data.legend, data.labels, i => ["o", data.label_colours[i]]);
    if (by === "value") {
      element("div", legend, data.unit || "value").className = "points-film-head";
      const ramp = element("div", legend);
      ramp.className = "points-film-ramp";
      ramp.style.background = `linear-gradient(to right, ${VIRIDIS.map(c => `rgb(${c.join(",")})`).join(",")})`;
      element("div", legend, `${Number(data.range[0].toPrecision(3))} to ${Number(data.range[1].toPrecision(3))}`);
    }
  }

  function entries(kind, head, names, styleOf) {
    element("div", legend, head).className = "points-film-head";
    names.forEach((name, i) => {
      const entry = element("button", legend);
      entry.type = "button";
      const icon = element("canvas", entry);
      const ratio = window.devicePixelRatio || 1;
      icon.width = icon.height = 14 * ratio;
      const ctx = icon.getContext("2d");
      ctx.scale(ratio, ratio);
      drawMarker(ctx, styleOf(i)[0], 7, 7, 4.5, styleOf(i)[1]);
      element("span", entry, name);
      entry.setAttribute("aria-pressed", String(!hidden[kind].has(i)));
      entry.addEventListener("click", () => {
        hidden[kind].has(i) ? hidden[kind].delete(i) : hidden[kind].add(i);
        entry.setAttribute("aria-pressed", String(!hidden[kind].has(i)));
        draw();
      });
    });
  }

  // What is under the pointer

  canvas.addEventListener("mousemove", event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
    const frame = frames[now];
    let best = -1, near = 100;  // within ten pixels
    for (let i = 0; i < frame.group.length; i++) {
      if (!shown(frame, i)) continue;
      const far = (px(frame.xy[2 * i]) - x) ** 2 + (py(frame.xy[2 * i + 1]) - y) ** 2;
      if (far < near) [near, best] = [far, i];
    }
    tip.hidden = best < 0;
    if (best < 0) return;
    const said = [`sample ${frame.sample[best]}`, data.groups[frame.group[best]]];
    if (frame.label) said.push(frame.label[best] >= 0 ? `${data.legend} ${data.labels[frame.label[best]]}` : `${data.legend} unknown`);
    if (frame.value) said.push(`${data.unit || "value"} ${Number.isFinite(frame.value[best]) ? Number(frame.value[best].toPrecision(3)) : "none"}`);
    tip.textContent = said.join(" · ");
    const share = box.width / width;
    tip.style.left = `${px(frame.xy[2 * best]) * share + 8}px`;
    tip.style.top = `${py(frame.xy[2 * best + 1]) * share + 8}px`;
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });

  names();
  draw();
}

for (const root of document.querySelectorAll(".points-film")) {
  if (root.dataset.frame !== undefined) continue;  // an earlier copy of this script has made it already
  film(root);
}
