// A film of points: a canvas, a slider, a legend. It reads its data from the page and asks the network for nothing.
// It stands in one function with `marks.js`.

const GREY = "#bbbbbb";

// Arrays that several frames share are stored once.
function unpack({arrays, frames}) {
  const stored = arrays.map(({kind, data}) => {
    const {buffer} = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    return kind === "float" ? new Float32Array(buffer) : new Int32Array(buffer);
  });
  const at = index => stored[index] ?? null;
  return frames.map(f => ({
    ...f, xy: at(f.xy), group: at(f.group), sample: at(f.sample), label: at(f.label), value: at(f.value),
    own: f.own && {...f.own, xy: at(f.own.xy)},
  }));
}

function film(root) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const frames = unpack(data);
  let now = 0, by = data.by[0], timer = null, own = false;
  const hidden = {net: new Set(), label: new Set()};

  const bar = make("div", root, {class: "points-film-bar"});
  const play = make("button", bar, {type: "button"}, "▶ play");
  const slider = make("input", bar, {type: "range", min: 0, max: frames.length - 1, step: 1, value: 0, "aria-label": "frame"});
  const title = make("output", bar);
  const select = make("select", bar, {"aria-label": "colour by"});
  const ways = {label: data.legend, value: data.unit || "value", net: "net"};
  for (const value of data.by) make("option", select, {value}, `colour by ${ways[value]}`);
  const axes = make("button", bar, {type: "button", "aria-pressed": "false", title: "Each frame on the axes that show most of it alone: frames do not compare then"}, "own axes");
  axes.hidden = !frames.some(frame => frame.own);
  const stage = make("div", root, {class: "points-film-stage"});
  const canvas = make("canvas", stage, {tabindex: 0, role: "img"});
  const tip = make("div", stage, {class: "points-film-tip", hidden: true});
  const legend = make("div", stage, {class: "points-film-legend"});
  const note = make("div", root, {class: "points-film-note"});

  const width = 560, height = 420, edge = 14;
  // The frame that is shown, and where its points lie in pixels.
  const seen = () => ({...frames[now], ...(own ? frames[now].own : null)});
  const across = ({limits}) => {
    const [left, right] = (limits ?? data.limits)[0];
    return x => width / 2 + (x - (left + right) / 2) * (width - 2 * edge) / (right - left);
  };
  const down = ({limits}) => {
    const [low, high] = (limits ?? data.limits)[1];
    return y => height / 2 - (y - (low + high) / 2) * (height - 2 * edge) / (high - low);
  };

  const shown = (frame, i) => !hidden.net.has(frame.group[i]) && !(frame.label && by === "label" && hidden.label.has(frame.label[i]));

  function colour(frame, i) {
    if (by === "value") return frame.value ? mapped(frame.value[i], ...data.range) : GREY;
    if (by === "label") return frame.label && frame.label[i] >= 0 ? data.label_colours[frame.label[i]] : GREY;
    return data.colours[frame.group[i]];
  }

  function draw() {
    const ctx = cleared(canvas, width, height), frame = seen(), count = frame.group.length, px = across(frame), py = down(frame);
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
  axes.addEventListener("click", () => {
    own = !own;
    axes.setAttribute("aria-pressed", String(own));
    tip.hidden = true;
    draw();
  });

  // The legend: nets by marker, labels by colour; a click hides or shows what it names.

  function names() {
    legend.textContent = "";
    entries("net", "net", data.groups, i => [data.markers[i], by === "net" ? data.colours[i] : "#444444"]);
    if (by === "label") entries("label", data.legend, data.labels, i => ["o", data.label_colours[i]]);
    if (by === "value") {
      make("div", legend, {class: "points-film-head"}, ways.value);
      const colours = VIRIDIS.map(c => `rgb(${c.join(",")})`);
      make("div", legend, {class: "points-film-ramp", style: `background: linear-gradient(to right, ${colours.join(",")})`});
      make("div", legend, {}, `${Number(data.range[0].toPrecision(3))} to ${Number(data.range[1].toPrecision(3))}`);
    }
  }

  function entries(kind, head, names, styleOf) {
    make("div", legend, {class: "points-film-head"}, head);
    names.forEach((name, i) => {
      const entry = make("button", legend, {type: "button", "aria-pressed": String(!hidden[kind].has(i))});
      icon(entry, 14, ctx => drawMarker(ctx, styleOf(i)[0], 7, 7, 4.5, styleOf(i)[1]));
      make("span", entry, {}, name);
      entry.addEventListener("click", () => {
        if (!hidden[kind].delete(i)) hidden[kind].add(i);
        entry.setAttribute("aria-pressed", String(!hidden[kind].has(i)));
        draw();
      });
    });
  }

  // What is under the pointer

  canvas.addEventListener("mousemove", event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
    const frame = seen(), px = across(frame), py = down(frame);
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
  if (root.dataset.frame === undefined) film(root);  // else an earlier copy of this script has made it already
}
