// The legend: a button a net, and one a label or the colours' scale. A click hides or shows, with alt it alone.

function makeLegend(into, scene, drawing) {
  const {plane, palette, root} = scene, about = plane.colouring, {scrollTop} = into, rows = [];
  const item = (text, pressed, press, draw) => {
    const made = button(null, "", `${text}: click hides or shows it, with alt only it`, press, {"aria-pressed": String(pressed)});
    const canvas = make("canvas", made, {"aria-hidden": "true"}), ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(18 * ratio);
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    draw(ctx);
    make("span", made, {}, text);
    rows.push(made);
  };
  const toggle = (hidden, name, names) => event => {
    if (event.altKey) hideOthers(hidden, name, names);
    else if (!hidden.delete(name)) hidden.add(name);
    makeLegend(into, scene, drawing);
    drawing.changed();
  };
  if (plane.nets.length) rows.push(make("h4", null, {}, "net"));
  const names = plane.nets.map(net => net.name);
  plane.nets.forEach((net, i) => item(net.name, scene.shows(i), toggle(scene.hiddenNets, net.name, names), ctx => {
    const colour = about.kind === "net" || !about.kind ? palette.nets[i] : styleOf(root, "--ka-front");
    ctx.beginPath();
    tracePath(ctx, net.marker, 9, 9, 5.5);
    ctx.fillStyle = ctx.strokeStyle = colour;
    ctx.lineWidth = 1.8;
    if (net.marker === "o") ctx.fill();
    else ctx.stroke();
  }));
  if (about.kind === "label") {
    rows.push(make("h4", null, {}, about.legend));
    const places = about.labels.map((_, i) => i);
    about.labels.forEach((label, i) => item(label.name, !scene.hiddenLabels.has(i), toggle(scene.hiddenLabels, i, places), ctx => {
      ctx.fillStyle = written(palette[i].rgb);
      ctx.beginPath();
      ctx.roundRect(3, 3, 12, 12, 3);
      ctx.fill();
    }));
  } else if (about.kind === "value") {
    rows.push(make("h4", null, {}, about.unit));
    const ramp = make("div", null, {class: "ka-points-ramp"});
    ramp.style.background = `linear-gradient(90deg, ${VIRIDIS.map(written).join(",")})`;
    const ends = make("div", null, {class: "ka-points-ends ka-numbers ka-small"});
    make("span", ends, {}, readable(about.low, 2));
    make("span", ends, {}, readable(about.high, 2));
    rows.push(ramp, ends);
  }
  into.replaceChildren(...rows);
  into.scrollTop = scrollTop;
}

// Show one alone; or all, where it is alone already.
function hideOthers(hidden, name, names) {
  const alone = names.every(other => hidden.has(other) === (other !== name));
  hidden.clear();
  if (!alone) for (const other of names) if (other !== name) hidden.add(other);
}
