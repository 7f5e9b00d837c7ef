// The bar of controls above the pictures.

const ICONS = {
  lasso: "M8 3c3.3 0 6 1.7 6 4s-2.7 4-6 4-6-1.7-6-4 2.7-4 6-4M5 10.5c-1.5.8-1 2.5.4 2.2 1-.2.9 1.3.1 1.8",
  pan: "M8 2v12M2 8h12M8 2 6.3 3.7M8 2l1.7 1.7M8 14l-1.7-1.7M8 14l1.7-1.7M2 8l1.7-1.7M2 8l1.7 1.7M14 8l-1.7-1.7M14 8l-1.7 1.7",
  smaller: "M3.5 8h9",
  larger: "M3.5 8h9M8 3.5v9",
  reset: "M13.2 6.2A5.6 5.6 0 1 0 13.6 9M13.6 2.6v3.8H9.8",
  full: "M6 2.5H2.5V6M10 2.5h3.5V6M6 13.5H2.5V10M10 13.5h3.5V10",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
};
const LINES = [["off", "off"], ["pointed", "pointed at"], ["0.05", "5 % of images"], ["0.2", "20 % of images"], ["1", "all images"]];
const FILES = [["", "save"], ["png", "PNG"], ["svg", "SVG"]];

function iconButton(into, icon, title, press, attributes = {}) {
  const made = button(into, "", title, press, {"aria-label": title, ...attributes});
  made.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
  return made;
}

// Give a select these options, [value, text] each; only if they are others, so that an open one stays open.
function setOptions(select, options, value) {
  const key = JSON.stringify(options);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...options.map(([name, text]) => make("option", null, {value: name}, text)));
  }
  select.value = value;
}

class Bar {
  // `actions` are the panel's: ask, setLines, setTool, zoomBy, reset, toggleFull, save.
  constructor(root, lines, actions) {
    const bar = make("div", root, {class: "ka-row ka-points-bar"});
    const labelled = (text, title, chosen, rare) => {
      const label = make("label", bar, {title, class: rare ? "ka-points-rare" : null});
      make("span", label, {}, text);
      const select = make("select", label, {"aria-label": title});
      select.addEventListener("change", () => chosen(select.value));
      return select;
    };
    this.view = labelled("view", "How the nets are laid into the plane; the seconds are spent in the background", view => actions.ask({view}));
    this.colour = labelled("colour", "What points are coloured by", colour => actions.ask({colour}));
    this.lines = labelled("lines", "Lines join the student's point of an image to the teachers' (L)", actions.setLines);
    for (const [value, text] of LINES) make("option", this.lines, {value, selected: value === lines}, text);
    this.space = labelled("space", "Which arrays of the nets are drawn", of => actions.ask({of}), true);
    this.fit = button(bar, "fit axes", "Fit the axes anew to the snapshots there are by now", () => actions.ask({fit: true}), {class: "ka-points-rare"});
    this.save = make("select", bar, {class: "ka-points-save ka-points-rare", "aria-label": "Save the picture", title: "Save the picture from the browser"});
    for (const [value, text] of FILES) make("option", this.save, {value}, text);
    this.save.addEventListener("change", () => { const kind = this.save.value; this.save.value = ""; actions.save(kind); });
    const buttons = make("span", bar, {class: "ka-points-buttons"}), rare = {class: "ka-points-rare"}, toggle = {class: "ka-toggle"};
    this.lasso = iconButton(buttons, "lasso", "Select with a lasso or a click (shift adds, ctrl or alt removes)", () => actions.setTool("lasso"), toggle);
    this.pan = iconButton(buttons, "pan", "Move the picture by dragging (also: middle button, or hold space)", () => actions.setTool("pan"), toggle);
    iconButton(buttons, "smaller", "Zoom out (−)", () => actions.zoomBy(1 / 1.4), rare);
    iconButton(buttons, "larger", "Zoom in (+)", () => actions.zoomBy(1.4), rare);
    iconButton(buttons, "reset", "Show everything (0)", actions.reset);
    this.full = iconButton(buttons, "full", "Full size (F); Esc leaves", actions.toggleFull);
    const more = iconButton(buttons, "more", "More controls", () => {
      root.classList.toggle("ka-more");
      more.setAttribute("aria-expanded", root.classList.contains("ka-more"));
    }, {class: "ka-points-more", "aria-expanded": "false"});
  }

  // What there is to choose from; `busy` is the view that is being made.
  update({picture, colouring, nets}, busy) {
    const views = (picture.views ?? []).map(({name, label, seconds: cost}) => [name, name === "pca" ? label : `${label} (≈ ${seconds(cost)})`]);
    setOptions(this.view, views, busy ?? picture.how);
    setOptions(this.colour, Object.entries(colouring.ways ?? {}), colouring.by);
    setOptions(this.space, (picture.spaces ?? []).map(space => [space.name, space.label]), picture.of);
    this.space.parentElement.hidden = (picture.spaces ?? []).length < 2;
    this.fit.disabled = picture.how !== "pca";
    for (const select of [this.view, this.colour, this.lines, this.space, this.save]) select.disabled = !nets.length;
  }

  showTool(tool) {
    this.lasso.setAttribute("aria-pressed", String(tool === "lasso"));
    this.pan.setAttribute("aria-pressed", String(tool === "pan"));
  }
}
