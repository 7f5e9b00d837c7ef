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
    this.colour = labelled("colour", "What points are coloured by (C: net or class)", colour => actions.ask({colour}));
    this.lines = labelled("lines", "Lines join the student's point of an image to the teachers' (L)", actions.setLines);
    setOptions(this.lines, LINES);
    this.lines.value = lines;
    this.space = labelled("space", "Which arrays of the nets are drawn", of => actions.ask({of}), true);
    this.fit = button(bar, "fit axes", "Fit the axes anew to the snapshots there are by now", () => actions.ask({fit: true}), {class: "ka-points-rare"});
    this.own = button(bar, "own axes", "Draw every picture on the axes that show most of it alone: pictures do not compare then", () => actions.ask({own: this.own.getAttribute("aria-pressed") !== "true"}), {class: "ka-points-rare ka-toggle"});
    this.save = make("select", bar, {class: "ka-points-save ka-points-rare", "aria-label": "Save the picture", title: "Save the picture from the browser"});
    setOptions(this.save, FILES);
    this.save.addEventListener("change", () => { actions.save(this.save.value); this.save.value = ""; });
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
    const {views = [], spaces = []} = picture;
    setOptions(this.view, views.map(({name, label, seconds: cost}) => [name, cost < 1 ? label : `${label} (≈ ${seconds(cost)})`]));
    setOptions(this.colour, Object.entries(colouring.ways ?? {}));
    setOptions(this.space, spaces.map(space => [space.name, space.label]));
    this.view.value = busy ?? picture.how;
    this.colour.value = colouring.by;
    this.space.value = picture.of;
    this.space.parentElement.hidden = spaces.length < 2;
    this.fit.disabled = this.own.disabled = !picture.linear;
    this.own.setAttribute("aria-pressed", String(Boolean(picture.own)));
    for (const select of [this.view, this.colour, this.lines, this.space, this.save]) select.disabled = !nets.length;
  }

  showTool(tool) { for (const name of ["lasso", "pan"]) this[name].setAttribute("aria-pressed", String(tool === name)); }
}
