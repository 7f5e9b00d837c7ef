// The tip beside the pointer: the image, its class, and what every net says of it.

const bitmapOf = data => createImageBitmap(new Blob([data], {type: "image/png"})).catch(() => null);

// Images of the samples: cut from one sheet, or asked for one by one where all are too much for a sheet.
class Images {
  constructor(model, ask, arrived) {
    Object.assign(this, {model, ask, arrived});
    this.sheet = null;
    this.single = new Map();  // by sample; null while it is on its way
  }

  async readSheet() {
    const data = this.model.get("sheet");
    if (!data?.byteLength) return;
    this.sheet = await bitmapOf(data);
    this.arrived();
  }

  async take(sample, data) {
    this.single.set(sample, await bitmapOf(data));
    this.arrived();
  }

  // A sample's image, {from, x, y, width, height}, or null while it is not there.
  of(sample) {
    const about = this.model.get("sheet_about") ?? {}, {columns, width, height} = about;
    if (!about.count) return null;
    if (this.sheet) return {from: this.sheet, x: (sample % columns) * width, y: Math.floor(sample / columns) * height, width, height};
    if (this.model.get("sheet")?.byteLength) return null;
    if (this.single.has(sample)) {
      const bitmap = this.single.get(sample);
      return bitmap && {from: bitmap, x: 0, y: 0, width: bitmap.width, height: bitmap.height};
    }
    this.single.set(sample, null);
    this.ask({image: sample});
    return null;
  }
}

class Tip {
  constructor(scene, images) {
    Object.assign(this, {scene, images});
    this.element = make("div", scene.root, {class: "ka-tip ka-points-tip", hidden: true, role: "tooltip"});
  }

  show() {
    const {plane, hovered, pointer, lasso, views} = this.scene, {element} = this;
    const branch = plane.branches[views.indexOf(pointer?.view)], frame = pointer?.view.frame;
    element.hidden = hovered === null || hovered >= plane.samples || Boolean(lasso) || !branch || !frame;
    if (element.hidden) {
      delete element.dataset.key;
      return;
    }
    const image = this.images.of(hovered);
    if (emptied(element, [hovered, frame.step, branch.name, Boolean(image), plane.picture.fit])) {
      const top = make("div", element, {class: "ka-points-tip-top"});
      if (image) this.draw(image, top);
      this.tell(hovered, frame, make("div", top));
    }
    this.stand(pointer);
  }

  draw(image, into) {
    const side = Math.round(5.2 * parseFloat(getComputedStyle(this.scene.root).fontSize)), fit = side / Math.max(image.width, image.height);
    const {from, x, y, width, height} = image, style = `width: ${width * fit}px; height: ${height * fit}px`;
    make("canvas", into, {width, height, style}).getContext("2d").drawImage(from, x, y, width, height, 0, 0, width, height);
  }

  // The class in every task, and a row a net and task. An answer is packed: class * 256 + its probability * 255.
  tell(sample, frame, into) {
    const {plane, palette} = this.scene, {names, rows, tasks, knows} = plane.classes, n = plane.samples;
    const truth = Object.fromEntries(tasks.map((task, i) => [task, plane.truth[i * n + sample]]));
    make("div", into, {class: "ka-quiet ka-small"}, `image ${plane.index[sample]}`);
    for (const task of tasks) {
      if (truth[task] >= 0) make("div", into, {class: "ka-head"}, `${tasks.length > 1 ? `${task}: ` : ""}${names[truth[task]]}`);
    }
    const table = make("table", into);
    let student = 0, teacher = 0;
    for (const [net, task] of rows) {
      const own = net === "student", packed = own ? frame.answers[student++ * n + sample] : plane.taught[teacher++ * n + sample];
      const known = truth[task] === undefined || truth[task] < 0 || own || (knows[net] ?? []).includes(truth[task]);
      const line = make("tr", table), look = plane.nets.findIndex(one => one.name === net);
      icon(make("td", line), 14, ctx => { if (look >= 0) drawMarker(ctx, plane.nets[look].marker, 7, 7, 4.6, palette.nets[look]); });
      make("td", line, {}, net);
      make("td", line, {}, packed < 0 ? "–" : names[packed >> 8]);
      make("td", line, {class: "ka-numbers"}, packed < 0 ? "" : `${Math.round((packed & 255) / 2.55)} %`);
      if (!known) { line.classList.add("ka-points-outside"); line.title = "does not know this class"; }
      else if (packed >= 0 && truth[task] >= 0 && packed >> 8 !== truth[task]) line.classList.add("ka-points-wrong");
    }
  }

  // Beside and below the pointer, or on its other side where there is no room.
  stand({view, x, y}) {
    const {root} = this.scene, plot = view.plot.getBoundingClientRect(), whole = root.getBoundingClientRect();
    const left = plot.left - whole.left + x, up = plot.top - whole.top + y, {offsetWidth, offsetHeight, style} = this.element;
    const beside = left + 16 + offsetWidth < root.clientWidth ? left + 16 : left - 16 - offsetWidth;
    const below = up + 14 + offsetHeight < root.clientHeight ? up + 14 : up - 14 - offsetHeight;
    style.left = `${Math.max(beside, 2)}px`;
    style.top = `${Math.min(Math.max(below, 2), Math.max(root.clientHeight - offsetHeight - 2, 2))}px`;
  }
}
