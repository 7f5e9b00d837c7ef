// Keys: what every panel of points understands, and what the player would do where none is.

function keyboard(scene, drawing, slider, actions) {
  const {root} = scene;
  const zoomIn = () => actions.zoomBy(1.4), lines = () => actions.setLines(scene.lines === "off" ? "pointed" : "off");
  const leave = () => {
    if (scene.lasso) { scene.lasso = null; drawing.pointedChanged(); }
    else if (scene.full) actions.toggleFull();
    else if (scene.selection.length) actions.select([]);
  };
  keysOf(root, {
    "+": zoomIn, "=": zoomIn, "-": () => actions.zoomBy(1 / 1.4), "0": actions.reset, "l": lines, "L": lines,
    "f": actions.toggleFull, "F": actions.toggleFull, "c": actions.toggleColour, "C": actions.toggleColour, "Escape": leave,
  });
  // Keys that the player has as well are taken only where there is none, and space only over a picture.
  root.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.classList.contains("ka-points-over")) return;
    const direction = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.key !== " " && !(!slider.row.hidden && direction)) return;
    event.preventDefault();
    event.stopPropagation();
    if (direction) { slider.stepBy(direction); return; }
    scene.spaceDown = true;
    root.classList.add("ka-panning");
  });
  root.addEventListener("keyup", event => {
    if (event.key !== " ") return;
    scene.spaceDown = false;
    root.classList.toggle("ka-panning", scene.tool === "pan");
  });
}
