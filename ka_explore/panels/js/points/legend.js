// The legend: a button a net, and one a label or the colours' scale. A click hides or shows, with alt it alone.

function makeLegend(into, scene, drawing) {
  const {plane, palette, root} = scene, about = plane.colouring, {scrollTop} = into, rows = [];
  // An entry with a picture; `key` is what it stands for among all `keys` of its kind.
  const item = (text, hidden, key, keys, draw) => {
    const made = button(null, "", `${text}: click hides or shows it, with alt only it`, event => {
      if (event.altKey) hideOthers(hidden, key, keys);
      else toggle(hidden, key);
      makeLegend(into, scene, drawing);
      drawing.changed();
    }, {"aria-pressed": String(!hidden.has(key))});
    icon(made, 18, draw);
    make("span", made, {}, text);
    rows.push(made);
  };
  if (plane.nets.length) rows.push(make("h4", null, {}, "net"));
  plane.nets.forEach(({name, marker}, i) => item(name, scene.hiddenNets, name, plane.nets.map(net => net.name), ctx => {
    drawMarker(ctx, marker, 9, 9, 5.5, about.kind === "net" || !about.kind ? palette.nets[i] : styleOf(root, "--ka-front"), 1.8);
  }));
  if (about.kind === "label") {
    rows.push(make("h4", null, {}, about.legend));
    about.labels.forEach(({name}, i) => item(name, scene.hiddenLabels, i, [...about.labels.keys()], ctx => {
      ctx.fillStyle = written(palette[i].rgb);
      ctx.beginPath();
      ctx.roundRect(3, 3, 12, 12, 3);
      ctx.fill();
    }));
  } else if (about.kind === "value") {
    rows.push(make("h4", null, {}, about.unit));
    rows.push(make("div", null, {class: "ka-points-ramp", style: `background: linear-gradient(90deg, ${VIRIDIS.map(written).join(",")})`}));
    const ends = make("div", null, {class: "ka-points-ends ka-numbers ka-small"});
    for (const end of [about.low, about.high]) make("span", ends, {}, readable(end, 2));
    rows.push(ends);
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
